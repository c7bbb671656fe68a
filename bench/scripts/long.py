"""Pure Python: dictionaries, sorting, text."""

import sys


def words(n):
    x = 12345
    for _ in range(n):
        x = x * 1103515245 + 12345 & 0x7FFFFFFF
        yield f"w{x % 5003}"


total = 0
for _ in range(int(sys.argv[1])):
    seen = {}
    for word in words(20000):
        seen[word] = seen.get(word, 0) + 1
    ranked = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
    total += sum(index * count for index, (word, count) in enumerate(ranked))
    text = " ".join(word for word, count in ranked)
    total += len(text.replace("1", "one").split("2")) + text.upper().count("W")
print(total)

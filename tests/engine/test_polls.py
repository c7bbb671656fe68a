"""Looks for requests: one in every cycle of a region, and none that is not needed."""

import random

from jitemu.backend_llvm.loops import Place, find_back, find_loops
from jitemu.backend_llvm.polls import Edge, polled_edges

Graph = dict[Place, list[Place]]


def graph_of(*edges: tuple[int, int]) -> Graph:
    found: Graph = {}
    for one, other in edges:
        found.setdefault((0, one), []).append((0, other))
        found.setdefault((0, other), [])
    return found


def jumps_of(graph: Graph) -> list[Edge]:
    return [(place, other) for place in graph for other in graph[place] if other <= place]


def polls_of(graph: Graph, counted: tuple[int, ...] = (), by_way: bool = False) -> set[Edge]:
    """``by_way``: edges to lower numbers are not preferred."""
    entries = sorted(graph)  # whatever is not reached from the first
    back = find_back(graph, entries)
    loops = find_loops(graph, entries[:1], back)
    jumps = [] if by_way else jumps_of(graph)
    return polled_edges(graph, back, jumps, loops, [(0, pc) for pc in counted])


def has_cycle(graph: Graph, polled: set[Edge]) -> bool:
    """By taking away what nothing leads to, again and again."""
    left = {place: [o for o in graph[place] if (place, o) not in polled] for place in graph}
    while left:
        entered = {other for following in left.values() for other in following}
        free = left.keys() - entered
        if not free:
            return True
        for place in free:
            del left[place]
    return False


def test_a_loop_looks_where_it_goes_back() -> None:
    assert polls_of(graph_of((0, 1), (1, 2), (2, 1), (2, 3))) == {((0, 2), (0, 1))}


def test_code_that_was_put_aside_does_not_look() -> None:
    """1 to 3 is a loop; 5 belongs to its body, and 3 jumps back from 6."""
    graph = graph_of((1, 2), (2, 3), (2, 5), (5, 6), (6, 3), (3, 1), (3, 4))
    assert polls_of(graph) == {((0, 3), (0, 1))}


def test_the_loop_within_does_without_first() -> None:
    """Each round of the loop around the head 1 comes by one that goes back to 2."""
    graph = graph_of((1, 2), (2, 3), (3, 4), (4, 2), (4, 5), (5, 3), (5, 1))
    assert ((0, 4), (0, 2)) in polls_of(graph)
    assert not has_cycle(graph, polls_of(graph))


def test_a_counted_loop_keeps_its_look() -> None:
    """Its branch back is not even part of a cycle without a look."""
    graph = graph_of((1, 2), (2, 3), (3, 2), (3, 1))
    assert polls_of(graph, counted=(3,)) == {((0, 3), (0, 2)), ((0, 3), (0, 1))}
    assert len(polls_of(graph_of((2, 1), (1, 3), (3, 4)), counted=(2,))) == 1


def test_a_loop_entered_in_its_midst_may_look_there() -> None:
    """1 to 3 is a loop that begins with 2."""
    graph = graph_of((0, 2), (2, 3), (3, 1), (1, 2), (3, 4))
    assert find_back(graph, [(0, 0)]) == [((0, 1), (0, 2))]
    (loop,) = find_loops(graph, [(0, 0)], find_back(graph, [(0, 0)]))
    assert (loop.head, loop.latch, len(loop.body)) == ((0, 2), (0, 1), 3)
    assert polls_of(graph, by_way=True) == {((0, 1), (0, 2))}
    assert polls_of(graph) == {((0, 3), (0, 1))}


def test_random_graphs_have_no_cycle_without_a_look() -> None:
    rng = random.Random(5)
    saved = 0
    for number in range(400):
        size = rng.randrange(2, 24)
        edges = [(pc, pc + 1) for pc in range(size) if rng.random() < 0.8]
        edges += [(rng.randrange(size), rng.randrange(size)) for _ in range(rng.randrange(size))]
        graph = graph_of((0, size), *dict.fromkeys(edges))
        polled = polls_of(graph, by_way=number % 2 == 0)
        assert not has_cycle(graph, polled)
        for edge in polled:
            assert has_cycle(graph, polled - {edge})
        saved += len(jumps_of(graph)) - len(polled)
    assert saved > 100

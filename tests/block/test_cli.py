"""jitemu img beside qemu-img: the same command lines print the same and leave the same."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.block.both import Said, jitemu_img, plain_error, qemu_img, words_of

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")


def _masked(text: str) -> str:
    """Without what differs between two runs of one program."""
    text = re.sub(r'("date-n?sec"): \d+', r"\1: N", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)
    text = re.sub(r"(iters\"?): \d+", r"\1: N", text)
    text = re.sub(r"(uuid\"?): \S+", r"\1: U", text)
    return re.sub(r"in \d+\.\d+ seconds", "in T seconds", text)


def _without_place(text: str) -> str:
    """Without sizes on the host's disk and places in files: those are each program's own."""
    text = re.sub(r"disk size: .*", "disk size: D", text)
    text = re.sub(r'"actual-size": \d+', '"actual-size": D', text)
    text = re.sub(r"Image end offset: \d+", "Image end offset: E", text)
    return re.sub(r'"image-end-offset": \d+', '"image-end-offset": E', text)


def _same(line: str, qemu: Said, own: Said) -> None:
    shown = f"{line}\nqemu-img: {qemu}\njitemu: {own}"
    assert own.status == qemu.status, shown
    assert _without_place(_masked(own.out)) == _without_place(_masked(qemu.out)), shown
    if qemu.status and qemu.err:
        assert plain_error(own.err) == plain_error(qemu.err), shown


SCRIPTS: dict[str, str] = {
    "create and describe": """
        create -f qcow2 a.qcow2 10M
        info a.qcow2
        info --output=json a.qcow2
        check a.qcow2
        check --output=json a.qcow2
        map a.qcow2
        map --output=json a.qcow2
        create -f qcow2 -o compat=0.10,cluster_size=4k old.qcow2 1.5M
        info old.qcow2
        info --output json old.qcow2
        create -f qcow2 -o cluster_size=2M,refcount_bits=1,lazy_refcounts=on wide.qcow2 30M
        info wide.qcow2
        create -f qcow2 -o extended_l2=on,compression_type=zstd x.qcow2 10M
        info x.qcow2
        create -f qcow2 odd.qcow2 1000
        info odd.qcow2
        resize odd.qcow2 1500
        create r.raw 3000
        info r.raw
        info --output=json -f raw r.raw
        map --output=json r.raw
        create -q -f raw z.raw 0
        info z.raw
        create -f qcow2 -o preallocation=metadata,cluster_size=4k p.qcow2 1M
        map p.qcow2
        map --output=json p.qcow2
        create -f qcow2 -o preallocation=full pf.qcow2 1M
        map pf.qcow2
        info --backing-chain a.qcow2
        info --image-opts driver=qcow2,file.filename=a.qcow2
        info 'json:{"driver":"qcow2","file.filename":"a.qcow2"}'
    """,
    "refusals of create": """
        create -f qcow2 x.qcow2 1X
        create -f foo x 1M
        create -f qcow2 -o foo=1 x 1M
        create -f qcow2 -o cluster_size=1000 x 1M
        create -f qcow2 -o cluster_size=4M x 1M
        create -f qcow2 -o refcount_bits=3 x 1M
        create -f qcow2 -o refcount_bits=128 x 1M
        create -f qcow2 -o compat=0.10,refcount_bits=1 x 1M
        create -f qcow2 -o compat=0.10,lazy_refcounts=on x 1M
        create -f qcow2 -o compat=0.10,extended_l2=on x 1M
        create -f qcow2 -o compat=0.10,compression_type=zstd x 1M
        create -f qcow2 -o extended_l2=on,cluster_size=8k x 1M
        create -f qcow2 x
        create -f qcow2 x.qcow2 100000T
        create -f qcow2 -o lazy_refcounts=maybe x.qcow2 1M
        create -f qcow2 -o compat=5 x.qcow2 1M
        create -f qcow2 -o size=1M x.qcow2 1M
        create -f qcow2 -o compression_type=lzo x.qcow2 1M
        create -f qcow2 -o preallocation=foo x.qcow2 1M
        create -f qcow2 -F raw x.qcow2 1M
        create -f qcow2 /nonexistent/x.qcow2 1M
        create -f raw -b x.qcow2 -F raw x.raw 1M
        create -f qcow2 -o encrypt.format=luks x.qcow2 1M
        create -f raw x.raw 5000000000000000000000
        create -f qcow2 -o help
        create -y
        create -f
    """,
    "backing chains": """
        create -q -f raw base.raw 4M
        qemu-io -f raw -c 'write -P 1 0 1M' base.raw
        create -f qcow2 -b base.raw -F raw mid.qcow2
        qemu-io -c 'write -P 2 1M 64k' -c 'write -z 128k 64k' mid.qcow2
        create -q -f qcow2 -o cluster_size=4k -b mid.qcow2 -F qcow2 top.qcow2 6M
        qemu-io -c 'write -P 3 1100k 4k' -c 'write -P 4 5M 8k' top.qcow2
        info top.qcow2
        info --backing-chain --output=json top.qcow2
        map --output=json top.qcow2
        map top.qcow2
        measure -O qcow2 top.qcow2
        measure -O raw top.qcow2
        create -f qcow2 -b nope.qcow2 -F raw x.qcow2
        create -f qcow2 -u -b nope.qcow2 -F raw x.qcow2 1M
        info x.qcow2
        create -f qcow2 -o backing_file=a,,b,backing_fmt=raw -u y.qcow2 1M
        info y.qcow2
        create -f qcow2 -b top.qcow2 -F qcow2 top.qcow2
        commit -b nope top.qcow2
        commit base.raw -f raw
        commit top.qcow2
        compare top.qcow2 mid.qcow2
        commit -q -d mid.qcow2
        compare mid.qcow2 base.raw
        rebase top.qcow2
        rebase -u -b nope -F foo top.qcow2
        rebase -b base.raw -u top.qcow2
        rebase -b base.raw -F raw top.qcow2
        info top.qcow2
        compare top.qcow2 mid.qcow2
        rebase -b '' top.qcow2
        info top.qcow2
        compare top.qcow2 mid.qcow2
        rebase -u -b other.qcow2 -F qcow2 top.qcow2
        info top.qcow2
    """,
    "snapshots and sizes": """
        create -q -f qcow2 a.qcow2 4M
        qemu-io -c 'write -P 1 0 1M' a.qcow2
        snapshot -c one a.qcow2
        qemu-io -c 'write -P 2 512k 1M' a.qcow2
        snapshot -c 'number two' a.qcow2
        snapshot -l a.qcow2
        info a.qcow2
        info --output=json a.qcow2
        resize a.qcow2 +2M
        snapshot -a one a.qcow2
        check a.qcow2
        info a.qcow2
        snapshot -a nope a.qcow2
        snapshot -d nope a.qcow2
        convert -l one -O raw a.qcow2 one.raw
        convert -l snapshot.name=one a.qcow2 two.raw
        compare -f raw -F raw one.raw two.raw
        convert -l nope a.qcow2 three.raw
        snapshot -d one a.qcow2
        check a.qcow2
        snapshot -d 2 a.qcow2
        check a.qcow2
        snapshot a.qcow2
        snapshot -d 'number two' a.qcow2
        resize a.qcow2 -1M
        resize --shrink a.qcow2 -1M
        resize a.qcow2 foo
        resize -q a.qcow2 20M
        info a.qcow2
        check a.qcow2
        create -q -f raw r.raw 1M
        resize -f raw r.raw 2M
        resize -f raw r.raw 1M
        snapshot -c x r.raw
        check r.raw
        create -q -f qcow2 -o refcount_bits=1 n.qcow2 1M
        qemu-io -c 'write 0 64k' n.qcow2
        snapshot -c x n.qcow2
        resize a.qcow2
        resize
    """,
    "bitmaps": """
        create -q -f qcow2 a.qcow2 4M
        bitmap --add a.qcow2 b0
        bitmap --add -g 512 --disable a.qcow2 b1
        bitmap --add a.qcow2 b0
        bitmap --remove a.qcow2 nope
        bitmap --add -g 1000 a.qcow2 z
        bitmap --merge nope a.qcow2 b0
        info a.qcow2
        info --output=json a.qcow2
        measure --output=json -O qcow2 -o cluster_size=4k a.qcow2
        convert --bitmaps -O qcow2 a.qcow2 b.qcow2
        info b.qcow2
        bitmap --add --merge b1 a.qcow2 b2
        bitmap --enable --clear a.qcow2 b1
        bitmap --remove a.qcow2 b0
        info a.qcow2
        check a.qcow2
        bitmap a.qcow2 b0
        resize a.qcow2 8M
        info a.qcow2
        check a.qcow2
    """,
    "converting and comparing": """
        create -q -f qcow2 -o extended_l2=on,cluster_size=32k e.qcow2 2M
        qemu-io -c 'write 3k 9k' -c 'write -z 4k 4k' e.qcow2
        qemu-io -c 'write 64k 128k' -c 'write -z 70k 60k' e.qcow2
        map --output=json e.qcow2
        map e.qcow2
        measure -O qcow2 e.qcow2
        create -q -f qcow2 z.qcow2 2M
        qemu-io -c 'write 0 512k' -c 'write -z 64k 128k' -c 'write -zu 256k 64k' z.qcow2
        map --output=json z.qcow2
        create -q -f qcow2 a.qcow2 8M
        qemu-io -c 'write -P 1 0 100k' -c 'write -P 2 3M 1M' -c 'write -z 5M 1M' a.qcow2
        convert a.qcow2 a.raw
        map --output=json -f raw a.raw
        convert -O qcow2 a.qcow2 b.qcow2
        check b.qcow2
        compare a.qcow2 b.qcow2
        compare -s a.qcow2 a.qcow2
        compare a.qcow2 -F raw a.raw
        convert -c -O qcow2 a.qcow2 c.qcow2
        check c.qcow2
        map --output=json c.qcow2
        map c.qcow2
        compare a.qcow2 c.qcow2
        convert -c -O qcow2 -o compression_type=zstd,cluster_size=4k,compat=1.1 a.qcow2 d.qcow2
        compare a.qcow2 d.qcow2
        create -q -f raw short.raw 1M
        compare -f raw short.raw a.qcow2
        compare -f raw -s short.raw a.qcow2
        compare -q a.qcow2 short.raw
        create -q -f qcow2 long.qcow2 20M
        compare a.qcow2 long.qcow2
        create -q -f qcow2 empty.qcow2 8M
        compare empty.qcow2 long.qcow2
        compare nope a.qcow2
        compare -T foo a.qcow2 a.qcow2
        map -s 64k -l 3M --output=json a.qcow2
        measure -O qcow2 -o backing_file=b,backing_fmt=raw a.qcow2
        convert -C -c -O qcow2 a.qcow2 x
        convert -n -o cluster_size=4k a.qcow2 x
        dd if=a.qcow2 of=o.raw skip=x
        compare a.qcow2
        convert -O foo a.qcow2 x
        convert -c -O raw a.qcow2 x
        convert -n a.qcow2 nope.raw
        convert a.qcow2
        convert -S 3 a.qcow2 x
        convert -m 20 a.qcow2 x
        convert -n -O qcow2 long.qcow2 a.qcow2
        convert -n -O qcow2 a.qcow2 long.qcow2
        compare a.qcow2 long.qcow2
        convert a.qcow2 b.qcow2 -O qcow2 two.qcow2
        info two.qcow2
        check two.qcow2
        convert -O qcow2 -B empty.qcow2 -F qcow2 a.qcow2 over.qcow2
        info over.qcow2
        compare a.qcow2 over.qcow2
        dd if=a.qcow2 of=o.raw bs=1M count=4 skip=3
        info -f raw o.raw
        dd if=a.qcow2 of=o.raw bs=0
        dd if=a.qcow2
        dd foo=1
        dd -O qcow2 if=a.qcow2 of=o.qcow2 bs=64k skip=1
        info o.qcow2
        measure -O qcow2 a.qcow2
        measure -O qcow2 --size 1G
        measure -O qcow2 -o cluster_size=512,refcount_bits=64 --size 123456789
        measure -O qcow2 -o extended_l2=on,cluster_size=16k --size 5T
        measure -O raw --size 1000
        measure
        measure a b
        bench -c 100 -f qcow2 a.qcow2
        bench -c 50 -w -s 64k -S 128k -o 64k -d 8 --flush-interval=10 -f qcow2 a.qcow2
    """,
    "amending": """
        create -q -f qcow2 a.qcow2 4M
        qemu-io -c 'write -P 1 0 1M' -c 'write -z 1M 1M' a.qcow2
        amend -o compat=0.10 a.qcow2
        info a.qcow2
        check a.qcow2
        amend -o compat=v3,lazy_refcounts=on,refcount_bits=32 a.qcow2
        info a.qcow2
        check a.qcow2
        amend -o refcount_bits=64 a.qcow2
        check a.qcow2
        amend -o cluster_size=4k a.qcow2
        amend -o foo=1 a.qcow2
        amend a.qcow2
        amend -o lazy_refcounts=off,size=8M a.qcow2
        info a.qcow2
        amend -f qcow2 -o help
    """,
    "external data files": """
        create -f qcow2 -o data_file=d.raw a.qcow2 4M
        qemu-io -c 'write -P 1 64k 128k' -c 'write -P 2 0 64k' -c 'write -z 1M 64k' a.qcow2
        info a.qcow2
        map a.qcow2
        map --output=json a.qcow2
        check a.qcow2
        snapshot -c x a.qcow2
        create -f qcow2 -o data_file=r.raw,data_file_raw=on b.qcow2 4M
        qemu-io -c 'write -P 1 64k 128k' b.qcow2
        compare b.qcow2 -F raw r.raw
        info b.qcow2
        check b.qcow2
        map b.qcow2
    """,
    "encryption": """
        create --object secret,id=s,data=pw -f qcow2 \
            -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 e.qcow2 2M
        info e.qcow2
        info --output=json e.qcow2
        check --object secret,id=s,data=pw --image-opts \
            driver=qcow2,file.filename=e.qcow2,encrypt.key-secret=s
        map e.qcow2
        create --object secret,id=s,data=pw -f qcow2 -o encrypt.key-secret=s x.qcow2 1M
        create -f qcow2 -o encrypt.format=luks,encryption=on x.qcow2 1M
        create -f qcow2 -o encrypt.format=foo x.qcow2 1M
    """,
    "LUKS volumes": """
        create --object secret,id=s,data=pw -f luks -o key-secret=s,iter-time=10 v 1M
        info v
        info --output=json v
        info --image-opts driver=luks,file.filename=v
        map --object secret,id=s,data=pw --image-opts driver=luks,key-secret=s,file.filename=v
        check --object secret,id=s,data=pw --image-opts driver=luks,key-secret=s,file.filename=v
        resize --object secret,id=s,data=pw --image-opts driver=luks,key-secret=s,file.filename=v 2M
        resize --object secret,id=s,data=pw --preallocation=full \
            --image-opts driver=luks,key-secret=s,file.filename=v 2500k
        resize --object secret,id=s,data=pw --preallocation=metadata \
            --image-opts driver=luks,key-secret=s,file.filename=v 3M
        info v
        create -f luks v
        create -f luks w 1M
        create -f luks -o key-secret=s w 1M
        create -f luks -b x -F raw v 1M
        create -f luks -o help
        create -f luks -o help w
        create -f raw -o help
        create -f qcow2 -o help w
        convert -O raw -o help
        create --object secret,id=s,data=pw -f luks -o key-secret=s,cipher-alg=foo w 1M
        create --object secret,id=s,data=pw -f luks -o key-secret=s,cipher-mode=foo w 1M
        create --object secret,id=s,data=pw -f luks -o key-secret=s,ivgen-alg=foo w 1M
        create --object secret,id=s,data=pw -f luks -o key-secret=s,hash-alg=foo w 1M
        create --object secret,id=s,data=pw -f luks -o key-secret=s,iter-time=foo w 1M
        create --object secret,id=s,data=pw -f luks -o key-secret=s,cipher-alg=cast5-128 w 1M
        create --object secret,id=s,data=pw -f luks \
            -o key-secret=s,ivgen-alg=essiv,ivgen-hash-alg=sha512 w 1M
        create --object secret,id=s,data=pw -f luks -o key-secret=s,cipher-alg=aes-128,\
cipher-mode=cbc,ivgen-alg=essiv,hash-alg=sha1,iter-time=10,preallocation=full w 1M
        info w
        measure --object secret,id=s,data=pw -O luks -o key-secret=s --size 1000
        measure --object secret,id=s,data=pw -O luks -o key-secret=s,iter-time=10 --size 1M \
            --output=json
        measure -O luks --size 1M
        convert --object secret,id=s,data=pw -c -O luks -o key-secret=s $v x
        convert --object secret,id=s,data=pw -O luks -o key-secret=s v x
        convert --object secret,id=s,data=pw -O luks -o key-secret=s,iter-time=10 $v x
        convert --object secret,id=s,data=pw -n -O luks -o key-secret=s $v x
        convert --object secret,id=s,data=pw -n -O luks $v x
        convert -O luks w x
    """,
    "passwords of LUKS volumes": """
        create --object secret,id=s,data=pw -f luks -o key-secret=s,iter-time=10 v 1M
        info v
        amend -f luks -o help
        amend -f raw -o help
        amend -f luks -o state=active v
        amend --object secret,id=s,data=pw -o size=2M $v
        amend --object secret,id=s,data=pw -o keyslot=1 $v
        amend --object secret,id=s,data=pw -o keyslot=x $v
        amend --object secret,id=s,data=pw -o state=foo $v
        amend --object secret,id=s,data=pw -o state=active $v
        amend $both -o state=active,new-secret=n,keyslot=0 $v
        amend $both -o state=active,new-secret=n,keyslot=8 $v
        amend $both -o state=active,new-secret=n,old-secret=s $v
        amend $both -o state=active,new-secret=n,iter-time=10 $v
        info v
        amend $both -o state=inactive $v
        amend $both -o state=inactive,keyslot=7 $v
        amend $both -o state=inactive,keyslot=7,old-secret=n $v
        amend $both -o state=inactive,keyslot=1,new-secret=n $v
        amend $both -o state=inactive,keyslot=1,iter-time=10 $v
        amend $both -o state=inactive,old-secret=n $v
        amend $both -o state=inactive,old-secret=n $v
        amend $both -o state=inactive,old-secret=s $v
        amend $both -o state=inactive,keyslot=0 $v
        amend $both -o state=active,new-secret=n,keyslot=3,iter-time=10 $v
        amend $both -o state=inactive,keyslot=0 $v
        info v
        compare --object secret,id=s,data=new $v driver=luks,key-secret=s,file.filename=v
        amend --object secret,id=s,data=new -o state=active,new-secret=s,iter-time=10 $v
        amend --object secret,id=s,data=new -o state=inactive,old-secret=s $v
        amend --force --object secret,id=s,data=new -o state=inactive,old-secret=s $v
    """,
    "command lines": """
        foo
        info
        info a b
        info --output=xx a
        info nope.qcow2
        info foo:bar
        check -y
        check nope
        commit
        map
        snapshot
        snapshot -a x -c y z
        rebase
        bench
        bench -c 0 a
        convert
        convert -y
    """,
}
"""Names, and command lines; qemu-io's run in both folders, to have the same contents."""


WORDS = {
    "$v": "--image-opts driver=luks,key-secret=s,file.filename=v",
    "$both": "--object secret,id=s,data=pw --object secret,id=n,data=new",
}


def _script(name: str) -> list[str]:
    text = SCRIPTS[name]
    for short, words in WORDS.items():
        text = text.replace(short, words)
    return [line.strip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("name", SCRIPTS)
def test_prints_what_qemu_img_prints(name: str, tmp_path: Path) -> None:
    folders = tmp_path / "qemu", tmp_path / "own"
    for folder in folders:
        folder.mkdir()
    for line in _script(name):
        words = words_of(line)
        if words[0] == "qemu-io":
            for folder in folders:
                assert qemu_img(folder, *words).status == 0, line
            continue
        _same(line, qemu_img(folders[0], *words), jitemu_img(folders[1], *words))
    _same_contents(*folders)


@pytest.mark.parametrize(
    "line",
    [
        "convert -p -O qcow2 a.raw b.qcow2",
        "compare -p -f raw -F raw a.raw a.raw",
        "convert -p -c -O qcow2 a.raw b.qcow2",
    ],
)
def test_progress_is_percentages_where_no_terminal_is(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(range(256)) * 50_000)
    said = jitemu_img(tmp_path, *words_of(line))
    assert said.status == 0, said
    shown = re.findall(r"    \(([\d.]+)/100%\)\r", said.out)
    assert shown[0] == "0.00"
    assert shown[-1] == "100.00"
    assert [float(one) for one in shown] == sorted(float(one) for one in shown)
    assert len(shown) > 3


def _same_contents(left: Path, right: Path) -> None:
    """Both programs left the same files, with disks that QEMU reads the same."""
    assert {path.name for path in left.iterdir()} == {path.name for path in right.iterdir()}
    for name in sorted(path.name for path in right.glob("*.qcow2")):
        done = [
            qemu_img(folder, "convert", "-O", "raw", name, "as-raw") for folder in (left, right)
        ]
        assert done[0].status == done[1].status, (name, done)
        if done[0].status == 0:
            assert (left / "as-raw").read_bytes() == (right / "as-raw").read_bytes(), name
            assert qemu_img(right, "check", name).status == 0, name

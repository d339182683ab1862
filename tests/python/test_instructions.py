"""The comparison of instruction counts: what it must notice, and how code is counted."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("instructions", ROOT / "bench" / "instructions.py")
tool = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tool)

COMPILERS, COUNTS = tool.load(tool.FILE)
KERNEL = "sm_90: forward f32"


def test_the_file_covers_every_kernel():
    catalogue = json.loads((ROOT / "bindings" / "mish.abi.json").read_text())
    images = [f"sm_{architecture['sm']}" for architecture in catalogue["architectures"]]
    images.append(f"compute_{catalogue['ptx']}")
    gpu = [f"{image}: {kernel}" for image in images for kernel in tool.KERNELS]
    # A strided run on the CPU is a contiguous one of copies.
    contiguous = [kernel for kernel in tool.KERNELS if "strided" not in kernel]
    cpu = [f"{simd}: {kernel}" for simd in tool.SETS for kernel in contiguous]
    calls = list(COUNTS)[len(gpu) + len(cpu) :]
    assert list(COUNTS) == [*gpu, *cpu, *calls]
    assert len(calls) >= 3 and all(key.startswith(f"{tool.CALL}: ") for key in calls)
    assert set(COMPILERS) == {"nvrtc", "rustc"}
    for key in gpu:
        assert {"load_bytes", "store_bytes"} < set(COUNTS[key])
        assert key.startswith("compute") or {"registers", "local_bytes"} < set(COUNTS[key])


def test_saving_what_was_loaded_changes_nothing(tmp_path):
    tool.save(tmp_path / "counts.json", COMPILERS, COUNTS)
    assert (tmp_path / "counts.json").read_text() == tool.FILE.read_text()


def altered(key, **numbers):
    return {**COUNTS, key: {**COUNTS[key], **numbers}}


def test_the_same_counts_pass(capsys):
    assert tool.report(COUNTS, COUNTS, {}) == (len(COUNTS), [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "key, name",
    [
        (KERNEL, "instructions"),
        (KERNEL, "registers"),
        (KERNEL, "double"),
        ("sm_60: backward f16", "ptx_instructions"),
        ("sm_120: double_backward bf16 strided", "instructions_in_all"),
        ("avx2: double_backward f64", "instructions"),
        ("avx512: forward bf16", "instructions"),
        ("call: pointers, forward", "instructions"),
    ],
)
def test_growth_fails_and_is_named(capsys, key, name):
    less = COUNTS[key][name] / 1.05
    assert tool.report(altered(key, **{name: less}), COUNTS, {}) == (len(COUNTS) - 1, [key])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"GREW    {key}: {name} ") and "(+5.0 %)" in line


def test_growth_within_the_limit_passes(capsys):
    before = altered(KERNEL, instructions=COUNTS[KERNEL]["instructions"] / 1.02)
    assert tool.report(before, COUNTS, {}) == (len(COUNTS), [])
    assert capsys.readouterr().out == ""


def test_a_shrink_is_a_hint(capsys):
    before = altered(KERNEL, instructions=COUNTS[KERNEL]["instructions"] * 1.1)
    assert tool.report(before, COUNTS, {}) == (len(COUNTS), [])
    assert capsys.readouterr().out.startswith(f"better  {KERNEL}: instructions ")


def test_local_memory_and_narrower_accesses_fail(capsys):
    for numbers in ({"local_bytes": 8}, {"load_bytes": 8}, {"store_bytes": 4}):
        assert len(tool.report(COUNTS, altered(KERNEL, **numbers), {})[1]) == 1
        assert KERNEL in capsys.readouterr().out
    # Wider ones are fine.
    assert not tool.report(COUNTS, altered(KERNEL, load_bytes=32), {})[1]


def test_kernels_that_come_or_go_fail(capsys):
    fewer = {key: row for key, row in COUNTS.items() if key != KERNEL}
    assert len(tool.report(COUNTS, fewer, {})[1]) == 1
    assert len(tool.report(fewer, COUNTS, {})[1]) == 1
    assert "is not in the file" in capsys.readouterr().out


def test_what_could_not_be_measured_is_no_failure():
    measured = {key: row for key, row in COUNTS.items() if not key.startswith("avx512")}
    assert tool.report(COUNTS, measured, {"avx512": "this machine lacks it"}) == (len(measured), [])
    # Registers are known without the disassembler.
    known = {key: {"registers": row["registers"]} if "sm_90" in key else row for key, row in COUNTS.items()}
    assert tool.report(COUNTS, known, {"sm_90": "no disassembler"}) == (len(COUNTS), [])


MACHINE_CODE = """
        /*0000*/                   ISETP.GE.U32.AND P0, PT, R0, UR4, PT ;
        /*0010*/               @P0 BRA `(.L_x_1) ;
        /*0020*/                   LDG.E.U16 R0, desc[UR4][R2.64] ;
        /*0030*/                   STG.E.U16 desc[UR4][R2.64], R0 ;
        /*0040*/                   EXIT ;
.L_x_1:
        /*0050*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0060*/                   DFMA R4, R4, R4, R4 ;
        /*0070*/                   NOP ;
        /*0080*/              @!P0 BRA `(.L_x_2) ;
        /*0090*/                   MUFU.RCP R4, R4 ;
        /*00a0*/                   MUFU.RCP R4, R4 ;
.L_x_2:
        /*00b0*/                   MUFU.EX2 R4, R4 ;
        /*00c0*/                   STG.E.128 desc[UR4][R2.64], R4 ;
        /*00d0*/                   EXIT ;
"""

PTX = """(
\t.param .u64 p
)
{
\t.reg .pred \t%p<2>;
\tsetp.lt.u32 \t%p1, %r3, %r8;
\t@%p1 bra \t$L__BB0_2;
\tbra.uni \t$L__BB0_1;

$L__BB0_2:
\t// begin inline asm
\tld.global.v8.b32 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%rd1];
\t// end inline asm
\tfma.rn.f32 \t%f1, %f1, %f1, %f1;
\tst.global.v8.b32 [%rd1], {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8};
\tbra.uni \t$L__BB0_3;

$L__BB0_1:
\tld.global.b32 %r1, [%rd1];
\tst.global.b32 [%rd1], %r1;
$L__BB0_3:
\tret;
}
"""


def test_machine_code_is_counted():
    # The branch over what has no access is taken, what waits does not count, and what precedes the
    # tile does: two and six instructions for four elements.
    expected = {"elements": 4, "instructions": 2.0, "load_bytes": 16, "store_bytes": 16}
    expected |= {"special": 0.25, "double": 0.2}
    assert tool.counted(MACHINE_CODE, "forward f32") == expected
    strided = {"instructions_in_all": 13, "load_bytes": 16, "store_bytes": 16}
    assert tool.counted(MACHINE_CODE, "forward f32 strided") == strided


def test_ptx_is_counted():
    expected = {"elements": 8, "ptx_instructions": 0.9, "load_bytes": 32, "store_bytes": 32}
    assert tool.counted(PTX, "forward f32", is_ptx=True) == expected


def test_only_the_librarys_own_instructions_count():
    dump = """
ob=(7) /tmp/count
fn=(1) main
cob=(6) /tmp/libmish.so
cfn=(2) mish_forward
calls=1 60
186 500
186 3

ob=(6)
fn=(2)
60 100
+5 20
* 3
cob=(9) /lib/libc.so.6
cfn=(3) memcpy
calls=2 60
+1 77
"""
    assert tool.executed(dump) == 123

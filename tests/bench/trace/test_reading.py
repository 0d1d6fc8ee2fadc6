"""Trace files are read exactly, and what is wrong with one is said with file, line and field."""

from pathlib import Path
from random import Random

import pytest

from bench.trace.reading import TraceError, TraceNode, TracePod, digest, read_nodes, read_pods, write_nodes, write_pods
from bench.trace.synthetic import synthetic_nodes, synthetic_pods

HEADER = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"
)


def _file(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_node_list_is_read(tmp_path: Path) -> None:
    """In the columns of Alibaba's trace."""
    path = _file(tmp_path, "sn,cpu_milli,memory_mib,gpu,model\nn-0,64000,262144,2,P100\n")
    assert read_nodes(path) == [TraceNode("n-0", 64000, 262144, 2, "P100")]


def test_a_pod_list_is_read(tmp_path: Path) -> None:
    """Models are divided by a bar; times may be missing."""
    text = HEADER + "p-0,6000,12288,1,460,V100M16|V100M32,LS,Running,12,,12\n"
    pod = TracePod("p-0", 6000, 12288, 1, 460, ("V100M16", "V100M32"), "LS", 12, None)
    assert (read_pods(_file(tmp_path, text)), pod.demand_milli) == ([pod], 460)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("p,x,1,0,0,,,,,,", r"list\.csv, line 2: cpu_milli is 'x', expected a whole number"),
        ("p,-1,1,0,0,,,,,,", r"line 2: cpu_milli is '-1', expected 0 to"),
        ("p,1,1,1,0,,,,,,", r"line 2: gpu_milli is 0, expected 1 to 1000"),
        ("p,1,1,2,500,,,,,,", r"line 2: gpu_milli is 500 with num_gpu 2, expected 1000"),
        ("p,1", r"line 2: memory_mib is None, expected a whole number"),
        ("p,inf,1,0,0,,,,,,", r"line 2: cpu_milli is 'inf', expected a whole number"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(TraceError, match=message):
        read_pods(_file(tmp_path, HEADER + row + "\n"))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Columns, rows and encoding."""
    with pytest.raises(TraceError, match="no column num_gpu, gpu_milli, gpu_spec"):
        read_pods(_file(tmp_path, "name,cpu_milli,memory_mib\n"))
    with pytest.raises(TraceError, match="no rows"):
        read_pods(_file(tmp_path, HEADER))
    with pytest.raises(TraceError, match="No such file"):
        read_pods(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(TraceError, match="expected CSV in UTF-8"):
        read_nodes(tmp_path / "binary.csv")


def test_a_synthetic_trace_survives_writing_and_reading(tmp_path: Path) -> None:
    """And the same seed gives the same bytes."""
    nodes, pods = synthetic_nodes(5, Random(3)), synthetic_pods(40, Random(3))
    write_nodes(tmp_path / "nodes.csv", nodes)
    write_pods(tmp_path / "pods.csv", pods)
    write_pods(tmp_path / "again.csv", synthetic_pods(40, Random(3)))
    assert (read_nodes(tmp_path / "nodes.csv"), read_pods(tmp_path / "pods.csv")) == (nodes, pods)
    assert digest(tmp_path / "pods.csv") == digest(tmp_path / "again.csv")

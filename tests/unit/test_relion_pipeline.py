"""default_pipeline.star and job.star against the files of the real RELION 5.1."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InputError
from core.formats import star
from core.relion.job_star import external_options, job_star, native_options
from core.relion.pipeline import (
    Node,
    Pipeline,
    Process,
    check_alias,
    empty_pipeline,
    job_name,
    job_number,
    parse_pipeline,
)
from tests.shared import shared

DATA = Path(__file__).resolve().parents[2] / "config"
SAMPLES = "facts/relion-samples"
TOMOGRAMS = "TomogramGroupMetadata.star.relion.tomo.external"


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def sample(path: str) -> str:
    return text_of(shared(f"{SAMPLES}/{path}"))


def pipelines() -> list[Path]:
    folder = shared(SAMPLES)
    return sorted(path for path in folder.rglob("*.star") if "data_pipeline_general" in text_of(path))


def jobs() -> list[Path]:
    folder = shared(SAMPLES)
    return sorted(path for path in folder.rglob("*.star") if "data_job\n" in text_of(path))


def rebuilt(pipeline: Pipeline) -> Pipeline:
    """The same content, built from nothing by our own additions, job by job."""
    new = empty_pipeline()
    types = {node.name: node for node in pipeline.nodes()}
    for process in pipeline.processes():
        new.add_process(process)
        for node, user in pipeline.input_edges():
            if user == process.name:
                new.add_input(types[node], process.name)
        for maker, node in pipeline.output_edges():
            if maker == process.name:
                new.add_output(process.name, types[node])
    new.set_counter(pipeline.counter)
    return new


def test_every_pipeline_is_read_and_written_identically() -> None:
    paths = pipelines()
    assert len(paths) > 30
    for path in paths:
        assert parse_pipeline(text_of(path), path).render() == text_of(path), path


def test_an_empty_pipeline_is_relions() -> None:
    assert empty_pipeline().render() == (
        "\n# version 50001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter                       1\n \n"
    )


def test_every_small_pipeline_of_one_job_is_built_with_relions_bytes() -> None:
    compared = 0
    for path in pipelines():
        if "job_pipeline" in path.name:
            text = text_of(path)
            assert rebuilt(parse_pipeline(text, path)).render() == text, path
            compared += 1
    assert compared > 25


@pytest.mark.parametrize("name", ["default_pipeline.star", "schemer/default_pipeline_after.star"])
def test_whole_pipelines_are_built_with_relions_bytes(name: str) -> None:
    text = sample(name)
    assert rebuilt(parse_pipeline(text, name)).render() == text


def test_the_steps_of_an_external_run_give_what_relion_wrote() -> None:
    pipeline = empty_pipeline()
    source = Node("input/tilt_series.star", "MicrographGroupMetadata.star.relion")
    pipeline.add_process(Process("External/job001/", "External/myalias/", "relion.external", "Running"))
    assert pipeline.add_input(source, "External/job001/")
    assert pipeline.render() == sample("external-local/default_pipeline.star")

    pipeline = empty_pipeline()
    for name in ("External/job001/", "External/job002/"):
        pipeline.add_process(Process(name, "", "relion.external", "Scheduled"))
    pipeline.add_output("External/job001/", Node("External/job001/out.star", TOMOGRAMS))
    # RELION keeps the type of a node that it knows.
    assert not pipeline.add_input(Node("External/job001/out.star", "MicrographGroupMetadata"), "External/job002/")
    for name in ("External/job001/", "External/job002/"):
        pipeline.set_status(name, "Running")
    pipeline.add_output("External/job002/", Node("External/job002/out.star", TOMOGRAMS))
    for name in ("External/job002/", "External/job001/"):
        pipeline.set_status(name, "Succeeded")
    assert pipeline.render() == sample("schemer/default_pipeline_after.star")


@pytest.mark.parametrize("name", ["tomo-star/default_pipeline.star", "default_pipeline_all_tomo_jobs_scheduled.star"])
def test_the_last_job_taken_out_and_added_again_gives_the_same_bytes(name: str) -> None:
    text = sample(name)
    pipeline = parse_pipeline(text, name)
    last = pipeline.processes()[-1]
    inputs = [node for node, process in pipeline.input_edges() if process == last.name]
    outputs = [node for process, node in pipeline.output_edges() if process == last.name]
    nodes = {node.name: node for node in pipeline.nodes()}
    counter = pipeline.counter
    removed = pipeline.remove_process(last.name)
    assert pipeline.process(last.name) is None
    assert [process.name for process in removed.processes()] == [last.name]
    assert last.name not in pipeline.render()
    pipeline.add_process(Process(last.name, last.alias, last.label, "Running"))
    for node in inputs:
        pipeline.add_input(nodes[node], last.name)
    for node in outputs:
        pipeline.add_output(last.name, nodes[node])
    pipeline.set_status(last.name, last.status)
    pipeline.set_counter(counter)
    assert pipeline.render() == text


def test_a_new_node_in_another_jobs_folder_becomes_its_output_in_the_order_of_the_jobs() -> None:
    pipeline = empty_pipeline()
    for number in (1, 2):
        pipeline.add_process(Process(job_name("External", number), "", "relion.external", "Succeeded"))
        pipeline.add_output(job_name("External", number), Node(f"External/job00{number}/a.star", "X"))
    pipeline.add_process(Process("External/job003/", "", "relion.external", "Running"))
    pipeline.add_input(Node("External/job001/other.star", "X"), "External/job003/")
    assert pipeline.output_edges() == [
        ("External/job001/", "External/job001/a.star"),
        ("External/job001/", "External/job001/other.star"),
        ("External/job002/", "External/job002/a.star"),
    ]
    assert rebuilt(pipeline).output_edges() == pipeline.output_edges()


def test_unknown_columns_and_blocks_are_kept() -> None:
    text = sample("external-local/default_pipeline.star").replace(
        "_rlnPipeLineProcessStatusLabel #4 \n", "_rlnPipeLineProcessStatusLabel #4 \n_labOwn #5 \n"
    )
    text = text.replace("   Running \n", "   Running  mine \n") + "\n# version 50001\n\ndata_lab\n\n_labKey  7\n \n"
    pipeline = parse_pipeline(text, "x")
    assert pipeline.render() == text
    pipeline.set_status("External/job001/", "Failed")
    pipeline.add_process(Process("External/job002/", "", "relion.external", "Running"))
    pipeline.add_output("External/job002/", Node("External/job002/a.star", "X"))
    again = star.parse(pipeline.render())
    assert again.block("pipeline_processes").column("labOwn") == ["mine", ""]
    names = [block.name for block in again.blocks]
    assert names.index("pipeline_output_edges") < names.index("lab")
    assert again.block("lab").pairs() == {"labKey": "7"}


def test_a_status_that_relion_does_not_know_is_refused() -> None:
    text = sample("external-local/default_pipeline.star")
    with pytest.raises(InputError, match="gives External/job001/ the status 'Pending'"):
        parse_pipeline(text.replace("   Running", "   Pending"), "x")
    pipeline = parse_pipeline(text, "x")
    with pytest.raises(InputError, match="no status of RELION"):
        pipeline.set_status("External/job001/", "Done")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("data_x\n\n_a 1\n \n", "no block data_pipeline_general"),
        ("data_pipeline_general\n\n_rlnPipeLineJobCounter x\n \n", "as its job counter"),
        (
            "data_pipeline_general\n\n_rlnPipeLineJobCounter 1\n \ndata_pipeline_processes\n\nloop_\n_a #1\nb\n \n",
            "has no",
        ),
    ],
)
def test_a_broken_pipeline_is_a_sentence(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_pipeline(text, "default_pipeline.star")


def test_names_that_relion_mangles_are_refused() -> None:
    pipeline = empty_pipeline()
    pipeline.add_process(Process("External/job001/", "", "relion.external", "Running"))
    for name in ("input/None_x.star", "/abs/x.star", ""):
        with pytest.raises(InputError):
            pipeline.add_input(Node(name, "X"), "External/job001/")


def test_job_names() -> None:
    assert job_name("External", 7) == "External/job007/"
    assert job_name("External", 1000) == "External/job1000/"
    assert job_number("External/job1000/") == 1000
    assert job_number("External/job012/tomograms.star") == 12
    assert job_number("External/myjob12/") is None


def test_a_job_is_found_by_name_alias_or_number() -> None:
    pipeline = parse_pipeline(sample("external-local/default_pipeline.star"), "x")
    for name in ("External/job001/", "External/job001", "External/myalias/", "Import/job001/"):
        found = pipeline.process(name)
        assert found is not None and found.name == "External/job001/"
    assert pipeline.process("External/job002/") is None


@pytest.mark.parametrize(
    "alias", ["x", "jobbing", "a/b", "a(b", 'a"b', "a$b", "a*", "a#", "a|b", "myalias", "aNone", "my\nx"]
)
def test_aliases_that_relion_refuses(alias: str) -> None:
    pipeline = parse_pipeline(sample("external-local/default_pipeline.star"), "x")
    with pytest.raises(InputError, match="alias"):
        check_alias(alias, "External", pipeline)


def test_an_alias_is_stored_as_relion_does() -> None:
    assert check_alias("my good one", "External", empty_pipeline()) == "External/my_good_one/"


def test_every_job_star_is_written_with_relions_bytes() -> None:
    paths = jobs()
    assert len(paths) > 50
    for path in paths:
        text = text_of(path)
        file = star.parse(text)
        job = file.block("job").pairs()
        options = dict(file.block("joboptions_values").rows)
        written = job_star(
            job["rlnJobTypeLabel"],
            options,
            is_tomo=job["rlnJobIsTomo"] == "1",
            is_continue=job["rlnJobIsContinue"] == "1",
        )
        assert written == text, path


def test_options_over_relions_defaults() -> None:
    site = {"qsubscript": "/public/EM/RELION/relion/bin/relion_qsub.csh"}
    text = job_star("relion.importtomo", native_options(DATA, "relion.importtomo", site), is_tomo=False)
    assert text == sample("job.star-defaults-5.1/relion.importtomo.tomo0.star")
    text = job_star("relion.external.warp.ts", external_options(site), is_tomo=False)
    assert text == sample("job.star-defaults-5.1/relion.external.tomo0.star")
    with pytest.raises(InputError, match="Did you mean 'angpix'"):
        native_options(DATA, "relion.importtomo", {"angpics": "1"})
    with pytest.raises(InputError, match="not installed whole|does not exist"):
        native_options(DATA, "relion.unknown", {})

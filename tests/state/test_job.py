from __future__ import annotations

from dataclasses import replace

from tests.fakes.jobs import a_job


def test_one_dataset_writes_straight_into_the_results() -> None:
    job = a_job()
    assert job.results_folder(job.tasks[0]) == "lab1/results/job__demo-pca_t0/process_results/"


def test_several_datasets_have_a_folder_each_even_when_they_are_called_the_same() -> None:
    job = a_job(datasets=2)
    folders = [job.results_folder(task).rsplit("/", 2)[1] for task in job.tasks]
    assert folders == ["a.npy", "b.npy"]
    same = replace(job, tasks=(job.tasks[0], replace(job.tasks[1], dataset="lab1/inputs/other/a.npy")))
    assert [same.label(task) for task in same.tasks] == ["0-a.npy", "1-a.npy"]
    assert len({same.status_key(task) for task in same.tasks}) == 2

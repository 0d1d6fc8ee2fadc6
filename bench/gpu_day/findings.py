"""Collects what each stage of the day found, by the stage's name."""

from dataclasses import dataclass

from bench.gpu_day.stages.colocate import Colocated
from bench.gpu_day.stages.facts import Facts
from bench.gpu_day.stages.fault import Faults
from bench.gpu_day.stages.limits import MpsLimits
from bench.gpu_day.stages.nvml_cost import NvmlCost
from bench.gpu_day.stages.project_tests import ProjectTests
from bench.gpu_day.stages.watched import Watched


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found so far; None is a stage that found nothing."""

    facts: Facts | None = None
    nvml: NvmlCost | None = None
    tests: ProjectTests | None = None
    watched: Watched | None = None
    limits: MpsLimits | None = None
    colocate: Colocated | None = None
    fault: Faults | None = None

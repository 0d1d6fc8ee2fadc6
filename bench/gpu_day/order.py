"""Lists the day's stages in the order of their worth, each with its time."""

from bench.gpu_day.day import DayStage
from bench.gpu_day.stages.colocate import colocate
from bench.gpu_day.stages.facts import facts
from bench.gpu_day.stages.fault import fault
from bench.gpu_day.stages.limits import limits
from bench.gpu_day.stages.nvml_cost import nvml_cost
from bench.gpu_day.stages.project_tests import project_tests
from bench.gpu_day.stages.watched import watched

STAGES = (
    DayStage("facts", limit_s=30, least_s=2, run=facts),
    DayStage("nvml", limit_s=20, least_s=5, run=nvml_cost),
    DayStage("tests", limit_s=95, least_s=20, run=project_tests),
    DayStage("watched", limit_s=40, least_s=15, run=watched),
    DayStage("limits", limit_s=75, least_s=30, run=limits),
    DayStage("colocate", limit_s=300, least_s=90, run=colocate),
    DayStage("fault", limit_s=75, least_s=40, run=fault),
)
"""A stage's name is its field of the findings."""

"""What holds for every test: how long an example of Hypothesis takes says nothing, for other programs run beside."""

from hypothesis import HealthCheck, settings

settings.register_profile("gpupack", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gpupack")

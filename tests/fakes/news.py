"""Keeps Events in memory instead of writing them."""

from extender.kube.events import News


class KeptNews:
    """A recorder that remembers what it was given."""

    def __init__(self) -> None:
        self.news: list[News] = []

    def put(self, news: News) -> None:
        """Remember it."""
        assert news.message
        self.news.append(news)

    @property
    def reasons(self) -> list[str]:
        """Reasons, in order."""
        return [each.reason for each in self.news]

    @property
    def said(self) -> list[tuple[str, str]]:
        """Levels and reasons, in order."""
        return [(each.level, each.reason) for each in self.news]

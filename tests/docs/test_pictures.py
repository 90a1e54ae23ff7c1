"""Tests of the generators of figures."""

from tools import pictures


def test_every_figure_of_the_gallery_and_the_tutorials_is_in_the_repository() -> None:
    for page in pictures.PAGES:
        assert pictures.shown(page), page.name
        assert not [name for name in pictures.shown(page) if not (pictures.PICTURES / name).is_file()], page.name

"""What tests of saved deployments do to their documents."""

import pytest

from spokeshave.devices.saved import load_saved
from spokeshave.errors import SpokeshaveError


def refused_when_changed(document, old, new):
    """A document with one thing changed is not loaded; afterwards it is as it was."""
    text = document.read_text()
    document.write_text(text.replace(old, new, 1))
    with pytest.raises(SpokeshaveError, match=rf"{document.stem}\.json is damaged: its digest"):
        load_saved(document.parent)
    document.write_text(text)

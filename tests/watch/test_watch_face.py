"""The face of the engine: what others import, and no more."""

import nostale.watch


def test_every_name_of_the_face_is_there_and_sorted():
    assert sorted(nostale.watch.__all__) == nostale.watch.__all__
    assert all(hasattr(nostale.watch, name) for name in nostale.watch.__all__)

"""Trained weights beside results that lie behind a URL; elsewhere checkpoints are files."""

from __future__ import annotations

from landscape_fast.store import Store, write_atomically
from landscape_fast.sweep.subjects import Subject

_NAME = "weights.pt"


def send_weights(store: Store, subject: Subject) -> None:
    """Copy a checkpoint to the store, unless that is a folder.

    Raises:
        StoreWriteError: The store refused.
    """
    if isinstance(store.root, str) and subject.trained:
        store.attach(subject.key, _NAME, subject.checkpoint.read_bytes())


def fetch_weights(store: Store, subject: Subject) -> None:
    """Copy a checkpoint from the store, unless it is here already.

    Raises:
        FileNotFoundError: It is nowhere.
    """
    if not (isinstance(store.root, str) and subject.trained) or subject.checkpoint.is_file():
        return
    content = store.attachment(subject.key, _NAME)
    if content is None:
        raise FileNotFoundError(f"there are no weights of {subject.key} in {store.root}")
    subject.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(subject.checkpoint, content)


def with_weights(store: Store) -> set[str] | None:
    """Keys of the models whose weights are in the store; ``None`` where that is a folder."""
    return store.attached(_NAME) if isinstance(store.root, str) else None

"""Answers taken apart: where they end, and whether they are right."""

from __future__ import annotations

import pytest

from bench.http_answers import Answers, BadAnswerError

EXPECTED = {"predictions": [2.5, 3.0]}
BODY = b'{"predictions": [2.5, 3.0]}'


def answer(body: bytes = BODY, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nDate: now\r\ncontent-length: {size}\r\nServer: x\r\n\r\n"
    return head.encode() + body


def test_a_right_answer_is_whole_with_its_last_byte() -> None:
    answers = Answers(EXPECTED)
    for _ in range(2):  # the second time from memory
        for cut in range(len(answer())):
            assert not answers.whole(answer()[:cut])
        assert answers.whole(answer())


def test_spelling_does_not_matter() -> None:
    answers = Answers(EXPECTED)
    assert answers.whole(answer(b'{\n    "predictions": [2.5, 3]\n}'))
    assert answers.whole(answer())


@pytest.mark.parametrize(
    "wrong",
    [
        answer(b'{"predictions": [2.5, 3.1]}'),
        answer(b"oops"),
        answer(b"\xff\xfe"),
        answer(b""),
        answer(status="503 Service Unavailable"),
        answer(status="2000 Strange"),
        answer() + b"H",  # more than was asked for
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"x" * 20_000,
    ],
)
def test_a_wrong_answer_is_told(wrong: bytes) -> None:
    answers = Answers(EXPECTED)
    assert answers.whole(answer())
    with pytest.raises(BadAnswerError):
        answers.whole(wrong)
    assert answers.whole(answer())


def test_a_wrong_body_is_not_learnt() -> None:
    answers = Answers(EXPECTED)
    for _ in range(2):
        with pytest.raises(BadAnswerError):
            answers.whole(answer(b'{"predictions": []}'))

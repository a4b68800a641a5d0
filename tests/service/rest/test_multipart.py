import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilpose.service.errors import InvalidRequest, TooLarge
from distilpose.service.intake import OptionsLimits
from distilpose.service.rest.multipart import Form, Part

BOUNDARY = "--x"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
ALMOST_BOUNDARIES = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"\r\n--", b"\r\n----", b"a", b"\0"])
).map(b"".join)
"""Contents that a parser may mistake for the end of a part, without a whole boundary."""


def read_parts(body: bytes, content_type: str, *, max_images: int, size: int = 7) -> list[Part]:
    """The parts of a body that arrives in pieces of that size."""
    form = Form(content_type, OptionsLimits(max_images, max_people=1))
    for start in range(0, len(body), size):
        form.write(body[start : start + size])
    return form.parts()


def body_of(*parts: Part) -> bytes:
    """The body in the form in which httpx sends it."""
    files = [
        (part.name, (part.filename, part.content, "image/jpeg" if part.filename else ""))
        for part in parts
    ]
    headers = {"content-type": CONTENT_TYPE}
    return httpx.Request("POST", "http://x", files=files, headers=headers).read()


def a_part(disposition: str, content: str = "A", end: str = "----x--\r\n") -> bytes:
    return f"----x\r\nContent-Disposition: {disposition}\r\n\r\n{content}\r\n{end}".encode()


@given(st.lists(ALMOST_BOUNDARIES | st.binary(), max_size=4), st.integers(1, 200))
def test_each_part_is_what_was_sent(contents: list[bytes], size: int) -> None:
    sent = [Part("images", f"{i}.jpg", content) for i, content in enumerate(contents)]
    sent.insert(1, Part("options", None, b"{}"))
    assert read_parts(body_of(*sent), CONTENT_TYPE, max_images=4, size=size) == sent


def test_a_file_may_have_an_empty_name() -> None:
    [part] = read_parts(a_part('form-data; name="images"; filename=""'), CONTENT_TYPE, max_images=1)
    assert part == Part("images", "", b"A")


def test_a_name_may_be_in_any_script() -> None:
    body = a_part('form-data; name="images"; filename="мяч 球.jpg"')
    [part] = read_parts(body, CONTENT_TYPE, max_images=1)
    assert part.filename == "мяч 球.jpg"


def test_other_headers_of_a_part_do_not_matter() -> None:
    body = a_part('form-data; name="images"; filename="a"\r\nX-Any: form-data; name="no"')
    [part] = read_parts(body, CONTENT_TYPE, max_images=1)
    assert part == Part("images", "a", b"A")


def test_without_parts_there_are_none() -> None:
    assert read_parts(b"", CONTENT_TYPE, max_images=1) == []
    assert read_parts(b"----x--\r\n", CONTENT_TYPE, max_images=1) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"abc", "boundary"),
        (a_part('form-data; filename="a"'), "has no name"),
        (b"----x\r\n\r\nA\r\n----x--\r\n", "has no name"),
        (a_part('form-data; name="images"; filename="a"', end=""), "ends within a part"),
        (b'----x\r\nContent-Disposition: form-data; name="im', "ends within a part"),
        (a_part('form-data; name="a"\r\nno header'), "header"),
    ],
)
def test_a_malformed_body_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^malformed multipart body: .*{words}"):
        read_parts(body, CONTENT_TYPE, max_images=1)


@pytest.mark.parametrize("content_type", ["multipart/form-data", f"{CONTENT_TYPE}{'x' * 300}"])
def test_a_boundary_is_needed_and_is_short(content_type: str) -> None:
    with pytest.raises(InvalidRequest, match="malformed multipart body"):
        read_parts(b"", content_type, max_images=1)


def test_more_files_than_images_and_options_are_refused() -> None:
    three = [Part("images", "a.jpg", b"A")] * 3
    assert len(read_parts(body_of(*three[:2]), CONTENT_TYPE, max_images=1)) == 2
    with pytest.raises(TooLarge, match="more than 1 images, which is the limit"):
        read_parts(body_of(*three), CONTENT_TYPE, max_images=1)


def test_more_fields_than_have_a_use_are_refused() -> None:
    three = [Part("options", None, b"{}")] * 3
    with pytest.raises(InvalidRequest, match="more than 2 parts that are not files"):
        read_parts(body_of(*three), CONTENT_TYPE, max_images=1)


def test_a_field_is_read_no_further_than_options_may_be_long() -> None:
    limits = OptionsLimits(1, max_people=1)
    fits = Part("options", None, b" " * limits.json_bytes)
    assert read_parts(body_of(fits), CONTENT_TYPE, max_images=1, size=4096) == [fits]
    form = Form(CONTENT_TYPE, limits)
    with pytest.raises(TooLarge, match="part 'options': more text than 1 images with 1 boxes"):
        form.write(body_of(Part("options", None, b" " * (limits.json_bytes + 20)))[:-12])


@pytest.mark.parametrize(
    "header", [f"X-Any: {'x' * 100_000}", f"{'x' * 100_000}: a", "a: b\r\n" * 1000]
)
def test_the_headers_of_a_part_have_limits(header: str) -> None:
    with pytest.raises(InvalidRequest, match="malformed multipart body") as refusal:
        read_parts(f"----x\r\n{header}".encode(), CONTENT_TYPE, max_images=1, size=16_384)
    assert len(refusal.value.detail) < 300


def test_what_follows_the_end_does_not_matter(caplog: pytest.LogCaptureFixture) -> None:
    body = body_of(Part("images", "a", b"A"))
    assert len(read_parts(body + bytes(100_000), CONTENT_TYPE, max_images=1, size=512)) == 1
    assert len(caplog.records) <= 1

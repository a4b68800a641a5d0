"""Access from web pages of other origins (CORS)."""

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from distilpose.service.printable import MOST_CHARACTERS

ALLOW_HEADERS: Final = "access-control-allow-headers"
_NAME: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
"""*Source:* RFC 9110, section 5.6.2 (`token`)."""


class BoundedCors(CORSMiddleware):
    """Starlette's, which would otherwise return whatever a preflight calls the names of headers."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a preflight, with well-formed names only, and as many as 200 characters."""
        response = super().preflight_response(request_headers)
        if wanted := response.headers.get(ALLOW_HEADERS):
            names = [each.strip() for each in wanted.split(",")]
            listed = ", ".join(name for name in names if _NAME.fullmatch(name))
            if len(listed) > MOST_CHARACTERS:
                # Two more for the comma that may follow the last name that fits.
                listed = listed[: MOST_CHARACTERS + 2].rpartition(", ")[0]
            response.headers[ALLOW_HEADERS] = listed
        return response

"""How the client asks over HTTP."""

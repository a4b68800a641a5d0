"""How the client asks over gRPC."""

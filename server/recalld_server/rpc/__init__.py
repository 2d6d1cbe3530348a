"""The gRPC API: parse a request, call a use case, render the answer."""

"""The microservice around the student: REST, gRPC, batching, settings, metrics. It never trains."""

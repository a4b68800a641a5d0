"""The microservice around the student: REST, batching, settings, metrics; never trains."""

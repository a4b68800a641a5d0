{{- /* Reports all invalid combinations of values at once, each with the names of the values to change. */ -}}
{{- define "distilpose.validate" -}}
{{- $problems := list }}
{{- $settings := include "distilpose.settings" . | fromYaml }}
{{- $http := int $settings.http.port }}{{ $grpc := int $settings.grpc.port }}
{{- $tls := include "distilpose.tlsSecret" . }}
{{- with .Values }}
{{- if or (not $http) (has $http (list $grpc 9090)) (eq $grpc 9090) }}
{{- $problems = append $problems (printf "config.http.port %d, config.grpc.port %d and the metrics port 9090 must differ, and the HTTP port must not be 0" $http $grpc) }}{{ end }}
{{- if and .autoscaling.hpa.enabled .autoscaling.keda.enabled }}
{{- $problems = append $problems "autoscaling.hpa.enabled and autoscaling.keda.enabled: KEDA creates its own HorizontalPodAutoscaler, and two would conflict; enable only one" }}{{ end }}
{{- if gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas) }}
{{- $problems = append $problems "autoscaling.minReplicas is above autoscaling.maxReplicas" }}{{ end }}
{{- if and .autoscaling.keda.enabled (not .autoscaling.keda.serverAddress) }}
{{- $problems = append $problems "autoscaling.keda.serverAddress is not set: where is Prometheus?" }}{{ end }}
{{- if and (regexMatch "^0%?$" (toString .rollout.maxSurge)) (regexMatch "^0%?$" (toString .rollout.maxUnavailable)) }}
{{- $problems = append $problems "rollout.maxSurge and rollout.maxUnavailable are both 0: no pod could ever be replaced" }}{{ end }}
{{- if and .probes.grpc $tls }}
{{- $problems = append $problems "probes.grpc: kubelet's gRPC probes do not support TLS; leave it off, the HTTP probes use the metrics port without TLS" }}{{ end }}
{{- if and .probes.grpc (not $grpc) }}
{{- $problems = append $problems "probes.grpc needs gRPC, which config.grpc.port 0 turns off" }}{{ end }}
{{- if and .grpcRoute.enabled (not $grpc) }}
{{- $problems = append $problems "grpcRoute.enabled needs gRPC, which config.grpc.port 0 turns off" }}{{ end }}
{{- range $name := list "httpRoute" "grpcRoute" }}
{{- $route := index $.Values $name }}
{{- if and $route.enabled (not $route.parentRefs) }}
{{- $problems = append $problems (printf "%s.parentRefs is not set: which Gateway?" $name) }}{{ end }}
{{- end }}
{{- if and .ingress.enabled (not .ingress.host) }}
{{- $problems = append $problems "ingress.host is not set" }}{{ end }}
{{- if and .apiKeys.keys .apiKeys.existingSecret }}
{{- $problems = append $problems "apiKeys.keys and apiKeys.existingSecret: give one of them" }}{{ end }}
{{- if and .tls.certificate .tls.existingSecret }}
{{- $problems = append $problems "tls.certificate and tls.existingSecret: give one of them" }}{{ end }}
{{- if ne (empty .tls.certificate) (empty .tls.key) }}
{{- $problems = append $problems "tls.certificate and tls.key go together" }}{{ end }}
{{- if and .tls.requireClientCertificate (not $tls) }}
{{- $problems = append $problems "tls.requireClientCertificate needs a certificate: tls.existingSecret, or tls.certificate and tls.key" }}{{ end }}
{{- if and .tls.requireClientCertificate .tls.certificate (not .tls.clientCa) }}
{{- $problems = append $problems "tls.clientCa is not set, and tls.requireClientCertificate needs it" }}{{ end }}
{{- if and .weights.volume .weights.url }}
{{- $problems = append $problems "weights.volume and weights.url: give one of them" }}{{ end }}
{{- if and (or .weights.volume .weights.url) (not .weights.sha256) }}
{{- $problems = append $problems "weights.sha256 is not set: external weights must be pinned (sha256sum FILE)" }}{{ end }}
{{- if .networkPolicy.enabled }}
{{- if and .weights.url (not .networkPolicy.egress.weights) }}
{{- $problems = append $problems "networkPolicy.egress.weights is not set, so pods could not download weights.url" }}{{ end }}
{{- if and .tracing.endpoint (not .networkPolicy.egress.otlp) }}
{{- $problems = append $problems "networkPolicy.egress.otlp is not set, so pods could not reach tracing.endpoint" }}{{ end }}
{{- end }}
{{- if .training.enabled }}
{{- if not .training.run }}{{ $problems = append $problems "training.run is not set: docs/runs has examples" }}{{ end }}
{{- range $name, $claim := .training.claims }}
{{- if not $claim }}{{ $problems = append $problems (printf "training.claims.%s is not set" $name) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- if $problems }}{{ fail (printf "these values are invalid:\n- %s" (join "\n- " $problems)) }}{{ end }}
{{- end }}

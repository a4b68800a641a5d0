{{- define "distilpose.serverContainer" -}}
{{- $settings := include "distilpose.settings" . | fromYaml -}}
name: distilpose
image: {{ include "distilpose.serverImage" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve, --config, /etc/distilpose/config/config.yaml]
{{- if or .Values.tracing.endpoint .Values.extraEnv }}
env:
  {{- with .Values.tracing.endpoint }}
  - {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
  - {name: OTEL_SERVICE_NAME, value: {{ include "distilpose.fullname" $ }}}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
ports:
  - {name: http, containerPort: {{ $settings.http.port }}}
  {{- if $settings.grpc.port }}
  - {name: grpc, containerPort: {{ $settings.grpc.port }}}
  {{- end }}
  - {name: metrics, containerPort: {{ $settings.telemetry.metrics_port }}}
startupProbe:
  {{- include "distilpose.readyQuestion" . | nindent 2 }}
  {{- toYaml .Values.probes.startup | nindent 2 }}
readinessProbe:
  {{- include "distilpose.readyQuestion" . | nindent 2 }}
  {{- toYaml .Values.probes.readiness | nindent 2 }}
# Always over HTTP: gRPC health only reports readiness, and a pod that is not ready is not dead.
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  {{- toYaml .Values.probes.liveness | nindent 2 }}
{{- with .Values.preStopSeconds }}
lifecycle:
  preStop:
    sleep: {seconds: {{ . }}}
{{- end }}
resources:
  {{- include "distilpose.resources" (list .Values.resources .Values.gpu) | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  {{- include "distilpose.volumeMounts" . | nindent 2 }}
{{- end }}

{{- define "distilpose.readyQuestion" -}}
{{- if .Values.probes.grpc -}}
grpc: {port: {{ (include "distilpose.settings" . | fromYaml).grpc.port }}}
{{- else -}}
httpGet: {path: /readyz, port: metrics}
{{- end }}
{{- end }}

{{- /* Downloads the weights to their volume, if their digest matches. */ -}}
{{- define "distilpose.fetchContainer" -}}
name: fetch-weights
image: {{ include "distilpose.serverImage" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [python, -c]
args:
  - |
    {{- .Files.Get "scripts/fetch_weights.py" | nindent 4 }}
  - {{ .Values.weights.url | quote }}
  - /weights/{{ .Values.weights.file }}
  - {{ .Values.weights.sha256 | quote }}
resources: {{- toYaml .Values.resources | nindent 2 }}
securityContext: {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - {name: weights, mountPath: /weights}
{{- end }}

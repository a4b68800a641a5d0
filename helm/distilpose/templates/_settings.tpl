{{- /* The service's settings: defaults of the settings class (settings.yaml, generated), then `config`,
then what the chart decides. Field by field, since a merge of maps would skip false, 0 and "". */ -}}
{{- define "distilpose.settings" -}}
{{- $settings := .Files.Get "settings.yaml" | fromYaml -}}
{{- range $chosen := list .Values.config (include "distilpose.chartSettings" . | fromYaml) }}
{{- range $group, $fields := $chosen }}
{{- range $field, $value := $fields }}
{{- $isOld := and (eq $group "grpc") (has $field (list "max_streams" "stream_window")) }}
{{- /* These moved from grpc to streams; their old names are accepted for one version. */}}
{{- $target := ternary "streams" $group $isOld }}
{{- if not (and $isOld (hasKey (default dict (get $.Values.config "streams")) $field)) }}
{{- $_ := set (index $settings $target) $field $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $settings }}
{{- end }}

{{- /* The settings that depend on values other than `config`. */ -}}
{{- define "distilpose.chartSettings" -}}
telemetry:
  metrics_port: 9090
model:
  # Not `auto`: a pod that cannot use its GPU should fail instead of being slow.
  device: {{ ternary "cuda" "cpu" (gt (int .Values.gpu.count) 0) }}
{{- with .Values.weights }}
  {{- if or .volume .url }}
  weights: /weights/{{ .file }}
  {{- end }}
  {{- if .sha256 }}
  weights_sha256: {{ .sha256 | quote }}
  {{- end }}
{{- end }}
security:
  {{- if include "distilpose.keysSecret" . }}
  api_keys_file: /etc/distilpose/keys/api-keys
  {{- end }}
  {{- if include "distilpose.tlsSecret" . }}
  tls_cert: /etc/distilpose/tls/tls.crt
  tls_key: /etc/distilpose/tls/tls.key
  {{- if .Values.tls.requireClientCertificate }}
  tls_client_ca: /etc/distilpose/tls/ca.crt
  {{- end }}
  {{- end }}
{{- end }}

{{- /* preStop, plus the two phases of the service's own draining, plus a margin. */ -}}
{{- define "distilpose.gracePeriodSeconds" -}}
{{- $life := (include "distilpose.settings" . | fromYaml).life -}}
{{ addf .Values.preStopSeconds $life.drain_delay_seconds $life.drain_seconds 5 | ceil | int }}
{{- end }}

{{- define "distilpose.startSeconds" -}}
{{ mul .Values.probes.startup.periodSeconds .Values.probes.startup.failureThreshold }}
{{- end }}

{{- /* The Secret of API keys; empty if everyone may call. */ -}}
{{- define "distilpose.keysSecret" -}}
{{- if .Values.apiKeys.keys }}{{ include "distilpose.fullname" . }}-api-keys
{{- else }}{{ .Values.apiKeys.existingSecret }}{{ end }}
{{- end }}

{{- /* The Secret of certificate and key; empty without TLS. */ -}}
{{- define "distilpose.tlsSecret" -}}
{{- if .Values.tls.certificate }}{{ include "distilpose.fullname" . }}-tls
{{- else }}{{ .Values.tls.existingSecret }}{{ end }}
{{- end }}

{{- define "distilpose.httpScheme" -}}
{{ include "distilpose.tlsSecret" . | empty | ternary "http" "https" }}
{{- end }}

{{- /* The protocol of the gRPC port, for load balancers and Gateways. */ -}}
{{- define "distilpose.grpcProtocol" -}}
{{ include "distilpose.tlsSecret" . | empty | ternary "kubernetes.io/h2c" "https" }}
{{- end }}

{{- /* Whole folders, because single mounted files are not updated with their Secret. */ -}}
{{- define "distilpose.secretMounts" -}}
{{- if include "distilpose.keysSecret" . }}
- {name: keys, mountPath: /etc/distilpose/keys, readOnly: true}
{{- end }}
{{- if include "distilpose.tlsSecret" . }}
- {name: tls, mountPath: /etc/distilpose/tls, readOnly: true}
{{- end }}
{{- end }}

{{- define "distilpose.secretVolumes" -}}
{{- with include "distilpose.keysSecret" . }}
- name: keys
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with include "distilpose.tlsSecret" . }}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}

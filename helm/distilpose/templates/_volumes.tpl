{{- define "distilpose.volumeMounts" -}}
- {name: config, mountPath: /etc/distilpose/config, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if .Values.sharedMemory.size }}
- {name: shm, mountPath: /dev/shm}
{{- end }}
{{- if or .Values.weights.volume .Values.weights.url }}
- {name: weights, mountPath: /weights, readOnly: true}
{{- end }}
{{- include "distilpose.secretMounts" . }}
{{- end }}

{{- define "distilpose.volumes" -}}
- name: config
  configMap: {name: {{ include "distilpose.fullname" . }}}
- name: tmp
  emptyDir: {sizeLimit: {{ .Values.tmp.size }}}
{{- with .Values.sharedMemory.size }}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ . }}}
{{- end }}
{{- if .Values.weights.url }}
- name: weights
  emptyDir: {}
{{- else if .Values.weights.volume }}
- {{ merge (dict "name" "weights") .Values.weights.volume | toYaml | nindent 2 | trim }}
{{- end }}
{{- include "distilpose.secretVolumes" . }}
{{- end }}

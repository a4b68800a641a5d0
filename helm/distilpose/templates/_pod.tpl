{{- /* The identity and security context that all pods of the chart share. */ -}}
{{- define "distilpose.podBasics" -}}
serviceAccountName: {{ include "distilpose.serviceAccountName" . }}
automountServiceAccountToken: false
# A Service called distilpose would put DISTILPOSE_* variables into the pod, which the service rejects.
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The placement on nodes with devices, for the service's and the training's pods. */ -}}
{{- define "distilpose.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end }}

{{- /* CPU and memory with the devices; takes a list of the resources and the `gpu` values. */ -}}
{{- define "distilpose.resources" -}}
{{- $resources := deepCopy (index . 0) }}{{ $gpu := index . 1 -}}
{{- if $gpu.count }}
{{- $_ := set $resources "limits" (merge (dict $gpu.resource $gpu.count) ($resources.limits | default dict)) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{- define "distilpose.podSpec" -}}
{{ include "distilpose.podBasics" . }}
{{- include "distilpose.placement" . }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- $own := dict "labelSelector" (dict "matchLabels" (include "distilpose.selectorLabels" $ | fromYaml)) }}
  {{- range . }}
  - {{ merge (deepCopy .) (hasKey . "labelSelector" | ternary dict $own) | toYaml | nindent 4 | trim }}
  {{- end }}
{{- end }}
terminationGracePeriodSeconds: {{ include "distilpose.gracePeriodSeconds" . }}
{{- if .Values.weights.url }}
initContainers:
  - {{ include "distilpose.fetchContainer" . | nindent 4 | trim }}
{{- end }}
containers:
  - {{ include "distilpose.serverContainer" . | nindent 4 | trim }}
volumes:
  {{- include "distilpose.volumes" . | nindent 2 }}
{{- end }}

{{- /* Names, labels and images, for all objects. */ -}}

{{- define "distilpose.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* At most 40 characters, so that names of pods and of other derived objects are not cut off. */ -}}
{{- define "distilpose.fullname" -}}
{{- $name := include "distilpose.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* The labels that all pods of a release share: the service's, the test's, the training's. */ -}}
{{- define "distilpose.releaseLabels" -}}
app.kubernetes.io/name: {{ include "distilpose.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "distilpose.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "distilpose.releaseLabels" . }}
{{- end }}

{{- /* The labels that select the service's pods only. */ -}}
{{- define "distilpose.selectorLabels" -}}
{{ include "distilpose.releaseLabels" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "distilpose.serviceAccountName" -}}
{{- $name := include "distilpose.fullname" . -}}
{{ default (ternary $name "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- /* An image by digest or tag; takes a list of the values, their name and the Dockerfile's target. */ -}}
{{- define "distilpose.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 }}{{ $where := index . 2 }}{{ $target := index . 3 }}
{{- $tag := default $root.Chart.AppVersion $image.tag -}}
{{- if not $image.repository -}}
{{- $build := printf "docker build -f docker/Dockerfile --target %s -t REGISTRY/distilpose-%s:%s ." $target $target $tag -}}
{{- $push := printf "docker push REGISTRY/distilpose-%s:%s" $target $tag -}}
{{- fail (printf "%s.repository is not set. Build the image, push it, and name it:\n  %s\n  %s\n  helm ... --set %s.repository=REGISTRY/distilpose-%s" $where $build $push $where $target) -}}
{{- end -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $tag }}{{ end }}
{{- end }}

{{- /* The image of the service, and of the helpers that need its Python. */ -}}
{{- define "distilpose.serverImage" -}}
{{ include "distilpose.image" (list . .Values.image "image" (ternary "cuda" "cpu" (gt (int .Values.gpu.count) 0))) }}
{{- end }}

{{- /* The pod that trains: `torchrun` on one node, a process for each device. */ -}}
{{- define "distilpose.trainingPod" -}}
{{- with .Values.training -}}
restartPolicy: Never
# Time to save the checkpoint.
terminationGracePeriodSeconds: 60
{{ include "distilpose.podBasics" $ }}
{{- include "distilpose.placement" $ }}
containers:
  - name: train
    image: {{ include "distilpose.image" (list $ .image "training.image" "train") }}
    imagePullPolicy: {{ .image.pullPolicy }}
    workingDir: /train
    command: [tini, --, torchrun, --standalone, --nproc-per-node, {{ max 1 .gpu.count | quote }}]
    args: [-m, distilpose.cli, train, {{ .role }}, --config, /config/run.yaml, --out, runs/{{ .out }}, --resume]
    resources:
      {{- include "distilpose.resources" (list .resources .gpu) | nindent 6 }}
    securityContext:
      {{- toYaml $.Values.securityContext | nindent 6 }}
    volumeMounts:
      - {name: config, mountPath: /config, readOnly: true}
      - {name: data, mountPath: /train/data, readOnly: true}
      - {name: cache, mountPath: /train/cache}
      - {name: runs, mountPath: /train/runs}
      - {name: tmp, mountPath: /tmp}
      - {name: shm, mountPath: /dev/shm}
volumes:
  - name: config
    configMap: {name: {{ include "distilpose.fullname" $ }}-train}
  - name: data
    persistentVolumeClaim: {claimName: {{ .claims.data }}, readOnly: true}
  - name: cache
    persistentVolumeClaim: {claimName: {{ .claims.cache }}}
  - name: runs
    persistentVolumeClaim: {claimName: {{ .claims.runs }}}
  - name: tmp
    emptyDir: {sizeLimit: {{ $.Values.tmp.size }}}
  - name: shm
    emptyDir: {medium: Memory, sizeLimit: {{ .sharedMemorySize }}}
{{- end }}
{{- end }}

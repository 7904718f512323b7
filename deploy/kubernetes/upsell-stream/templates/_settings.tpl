{{- /* A setting as its variable carries it: text as it is, lists of text with commas, the rest as JSON (numbers without an exponent). */ -}}
{{- define "upsell-stream.value" -}}
{{- if kindIs "string" . -}}
{{ . }}
{{- else if and (kindIs "slice" .) (not (empty .)) (kindIs "string" (first .)) -}}
{{ join "," . }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{- /* The value of a setting's environment variable: text as it is, lists of text joined by commas, everything else as JSON (numbers without an exponent). */ -}}
{{- define "upsell-stream.value" -}}
{{- if kindIs "string" . -}}
{{ . }}
{{- else if and (kindIs "slice" .) (not (empty .)) (kindIs "string" (first .)) -}}
{{ join "," . }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

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

{{- /* The environment of a worker. Any setting becomes its variable, so that a new one needs no change here. An empty topic switches its journey off. */ -}}
{{- define "upsell-stream.environment" -}}
{{- $set := dict "UPSELL_HTTP_HOST" "0.0.0.0" "UPSELL_HTTP_PORT" "8080" "UPSELL_KAFKA_PARTITIONS" (toString .Values.partitions) -}}
{{- range $name, $value := .Values.settings -}}
{{- $_ := set $set (printf "UPSELL_%s" (upper $name)) (include "upsell-stream.value" $value) -}}
{{- end -}}
{{- range $name, $_ := .Values.files -}}
{{- if hasKey $.Values.settings $name }}{{ fail (printf "settings.%s and files.%s are both set; keep one of them" $name $name) }}{{ end -}}
{{- $_ := set $set (printf "UPSELL_%s" (upper $name)) (printf "/etc/upsell-stream/%s" $name) -}}
{{- end -}}
{{- if and (eq "" (dig "checkout_topic" "default" .Values.settings)) (eq "" (dig "subscription_topic" "default" .Values.settings)) -}}
{{- fail "settings.checkout_topic and settings.subscription_topic are both empty, so there is no journey; keep one of them" -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if hasKey $set .name }}{{ fail (printf "extraEnv contains %s, which the chart sets; change it under settings, files or partitions" .name) }}{{ end -}}
{{- end -}}
{{- range $name, $value := $set }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

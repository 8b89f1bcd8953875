{{- define "pullgate.name" -}}
{{- if contains "pullgate" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-pullgate" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "pullgate.selector" -}}
app.kubernetes.io/name: pullgate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pullgate.labels" -}}
{{ include "pullgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "pullgate.caddyfile" -}}
{{- if .Values.caddyfile }}
{{- .Values.caddyfile }}
{{- else -}}
{
	admin unix//data/admin.sock|0600
	grace_period 5s
	auto_https off
	skip_install_trust
	servers {
		timeouts {
			read_header 10s
			read_body_idle 10s
			write_idle 1m
			idle 2m
		}
		max_header_size 16KiB
	}
	registry_mirror {
		storage /data/cache {
			{{- with .Values.storage.maxSize }}
			max_size {{ . | replace " " "" }}
			{{- end }}
			min_free {{ .Values.storage.minFree | replace " " "" }}
		}
	}
}

:5000 {
	registry_mirror_health
	registry_mirror {{ join " " .Values.upstreams }}{{ with .Values.options }} {
{{ . | trimSuffix "\n" | indent 2 }}
	}{{ end }}
}
{{- if .Values.metrics.enabled }}

:2020 {
	metrics /metrics
}
{{- end }}
{{- end }}
{{- end }}

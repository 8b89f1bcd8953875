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

{{- define "pullgate.peers" -}}
{{ include "pullgate.name" . | trunc 57 | trimSuffix "-" }}-peers
{{- end }}

{{- /* Whether the gateways share anything; empty = no. */ -}}
{{- define "pullgate.shares" -}}
{{- if or .Values.fleet.bucket.url .Values.fleet.secret }}true{{ end }}
{{- end }}

{{- /* A fleet without volumes needs no names: a pod of a node that is gone is replaced. */ -}}
{{- define "pullgate.kind" -}}
{{- if and (include "pullgate.shares" .) (not .Values.storage.persistent) }}Deployment{{ else }}StatefulSet{{ end }}
{{- end }}

{{- /* What the schema cannot tell, since it is about several values. */ -}}
{{- define "pullgate.check" -}}
{{- $bucket := .Values.fleet.bucket }}
{{- if and (gt (int .Values.replicas) 1) (not .Values.fleet.secret) }}
{{- fail (printf "replicas: %d gateways need fleet.secret, by which they know each other: kubectl create secret generic pullgate-fleet --from-literal=secret=$(openssl rand -hex 32), then fleet.secret: pullgate-fleet" (int .Values.replicas)) }}
{{- end }}
{{- if and (gt (int .Values.replicas) 1) .Values.storage.existingClaim }}
{{- fail "storage.existingClaim is one volume, and each gateway has one of its own: leave it empty for several" }}
{{- end }}
{{- if and $bucket.url (not (regexMatch "^https?://[^/@ ]+/[^/ ?#][^ ?#]*$" $bucket.url)) }}
{{- fail (printf "fleet.bucket.url: %q is no URL of a bucket: want https://host/bucket or https://host/bucket/prefix" $bucket.url) }}
{{- end }}
{{- if and (not $bucket.url) (or $bucket.region $bucket.secret $bucket.maxSize $bucket.maxUnused) }}
{{- fail "fleet.bucket has no url: region, secret, maxSize and maxUnused are those of a bucket" }}
{{- end }}
{{- end }}

{{- define "pullgate.bucket" -}}
{{- with .Values.fleet.bucket }}
{{- if .url }}
			credentials {{ if .secret }}{file./run/secrets/bucket/access_key} {file./run/secrets/bucket/secret_key}{{ else }}aws{{ end }}
			{{- with .region }}
			region {{ . }}
			{{- end }}
			{{- with .maxSize }}
			max_size {{ . | replace " " "" }}
			{{- end }}
			{{- with .maxUnused }}
			max_unused {{ . }}
			{{- end }}
{{- end }}
{{- end }}
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
		{{- if include "pullgate.shares" . }}
		fleet {{ with .Values.fleet.bucket.url }}{{ . }} {{ end }}{
			{{- include "pullgate.bucket" . }}
			{{- if .Values.fleet.secret }}
			peers {{ include "pullgate.peers" . }}:5001
			secret {file./run/secrets/fleet/secret}
			{{- end }}
		}
		{{- end }}
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

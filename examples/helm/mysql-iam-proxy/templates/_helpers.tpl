{{- /* The name of all objects: the release's, with the chart's unless it is part of it. */}}
{{- define "proxy.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "proxy.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "proxy.labels" -}}
{{ include "proxy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "proxy.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "proxy.name" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{- define "proxy.image" -}}
{{- $repository := required "image.repository is required, such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com/mysql-iam-proxy" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{- define "proxy.passwordsSecret" -}}
{{- .Values.secrets.passwords.name | default (include "proxy.name" .) -}}
{{- end }}

{{- define "proxy.tlsSecret" -}}
{{- .Values.secrets.tls.name | default (printf "%s-tls" (include "proxy.name" .)) -}}
{{- end }}

{{- /* The port at the end of an address that other machines can reach. The argument is a list of the setting and its value. */}}
{{- define "proxy.port" -}}
{{- $setting := index . 0 -}}
{{- $address := index . 1 | default "" | toString -}}
{{- if or (not (regexMatch ":[0-9]+$" $address)) (regexMatch "^(127\\.|localhost:|\\[::1\\]|unix:)" $address) -}}
{{- fail (printf "%s is %q. The Service and the kubelet need an address such as 0.0.0.0:3306" $setting $address) -}}
{{- end -}}
{{- $port := regexFind "[0-9]+$" $address -}}
{{- if or (lt (int64 $port) 1) (gt (int64 $port) 65535) -}}
{{- fail (printf "%s is %q. A port is a number from 1 to 65535" $setting $address) -}}
{{- end -}}
{{- $port -}}
{{- end }}

{{- /* A list of the ports of the endpoints. One is called mysql; of several, each has its number in its name. */}}
{{- define "proxy.ports" -}}
{{- if not .Values.config.endpoints -}}
{{- fail "config.endpoints needs at least one endpoint, with rds-endpoint and listen" -}}
{{- end -}}
{{- $taken := list (include "proxy.port" (list "config.health-listen" (index .Values.config "health-listen"))) }}
{{- range $endpoint := .Values.config.endpoints }}
{{- $listen := $endpoint.listen | default (index $.Values.config "listen") }}
{{- $port := include "proxy.port" (list (printf "listen of %s" (index $endpoint "rds-endpoint")) $listen) }}
{{- if has $port $taken }}
{{- fail (printf "port %s is used twice. Each endpoint and health-listen need their own" $port) }}
{{- end }}
{{- $taken = append $taken $port }}
- name: {{ ternary "mysql" (printf "mysql-%s" $port) (eq (len $.Values.config.endpoints) 1) }}
  number: {{ $port }}
{{- end }}
{{- end }}

{{- /* preStop, max-sigterm-delay, and 10 s to close the rest */}}
{{- define "proxy.gracePeriod" -}}
{{- $delay := index .Values.config "max-sigterm-delay" | default "10s" | toString -}}
{{- if not (regexMatch "^[0-9]+(s|m|h)$" $delay) -}}
{{- fail (printf "config.max-sigterm-delay is %q. The chart needs whole seconds, minutes or hours, such as 75s" $delay) -}}
{{- end -}}
{{- $factor := get (dict "s" 1 "m" 60 "h" 3600) (regexFind "[smh]$" $delay) -}}
{{- add (mul (regexFind "^[0-9]+" $delay | int64) $factor) .Values.preStopSeconds 10 -}}
{{- end }}

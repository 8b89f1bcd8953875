package release

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const (
	chartFolder = "../../../deploy/helm/pullgate"
	// manifests are what the chart makes, for those who do without Helm.
	manifests = "../../../deploy/kubernetes/"
)

var update = flag.Bool("update", false, "write deploy/kubernetes anew")

// values are sets of values that people have, with a word that the result must contain.
var values = map[string]struct{ set, contains string }{
	"defaults":       {"", "replicas: 1"},
	"host port":      {"hostPort: 5000", "hostPort: 5000"},
	"node port":      {"service: {type: NodePort, nodePort: 30500}", "nodePort: 30500"},
	"ingress":        {"ingress: {enabled: true, host: gate.example.com, tlsSecret: gate}", "secretName: gate"},
	"monitor":        {"metrics: {serviceMonitor: true, labels: {release: prometheus}}", "kind: ServiceMonitor"},
	"alerts":         {"metrics: {prometheusRule: true, labels: {release: prometheus}}", "alert: PullgateIndexClosed"},
	"dashboard":      {"metrics: {dashboard: true}", "grafana_dashboard: \"1\""},
	"no metrics":     {"metrics: {enabled: false}", "containerPort: 5000"},
	"no volume":      {"storage: {persistent: false}", "emptyDir"},
	"existing claim": {"storage: {existingClaim: cache}", "claimName: cache"},
	"storage class":  {"storage: {storageClass: fast, size: 1Ti, maxSize: 900 GiB}", "max_size 900GiB"},
	"options":        {"options: |\n  default docker.io\n  upstream docker.io {\n    credentials {env.HUB_USER} {env.HUB_TOKEN}\n    access public\n  }\n", "default docker.io"},
	"environment":    {"env: [{name: HUB_TOKEN, valueFrom: {secretKeyRef: {name: hub, key: token}}}]", "secretKeyRef"},
	"own Caddyfile":  {"caddyfile: |\n  :5000 {\n    registry_mirror quay.io\n  }\n", "registry_mirror quay.io"},
	"fleet":          {fleetValues, "fleet https://s3.eu-central-1.amazonaws.com/bucket/prefix {"},
	"fleet of a few": {"replicas: 2\nfleet: {secret: fleet}", "peers pullgate-peers:5001"},
	"bucket alone":   {"fleet: {bucket: {url: 'http://minio:9000/cache', region: here, maxSize: 10 TiB, maxUnused: 90d}}\nserviceAccountName: gateway", "credentials aws"},
	"disposable":     {fleetValues + "\nstorage: {persistent: false}", "kind: Deployment"},
	"open network":   {"fleet: {secret: fleet, networkPolicy: false}\ntopologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]", "topologyKey: zone"},
	"placement":      {"nodeSelector: {disk: ssd}\ntolerations: [{operator: Exists}]\naffinity: {}\npriorityClassName: system-cluster-critical\npodAnnotations: {a: b}\npodLabels: {c: d}\nimagePullSecrets: [{name: pull}]", "disk: ssd"},
}

func TestChartLints(t *testing.T) {
	for name, v := range values {
		result := lint.AllWithKubeVersion(chartFolder, parsed(t, v.set), "default", nil)
		for _, m := range result.Messages {
			if m.Severity >= support.WarningSev {
				t.Errorf("%s: %s", name, m)
			}
		}
	}
}

func TestChartRenders(t *testing.T) {
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			text := rendered(t, v.set)
			if !strings.Contains(text, v.contains) {
				t.Errorf("no %q in:\n%s", v.contains, text)
			}
			for _, document := range strings.Split(text, "\n---\n") {
				checkObject(t, document)
			}
		})
	}
}

func TestChartRefusesWrongValues(t *testing.T) {
	for _, set := range []string{
		"storage: {maxSize: 200}", "storage: {maxSize: '200'}", "hostPort: 0", "hostport: 5000",
		"service: {type: hostPort}", "upstreams: docker.io", "image: {tag: latest, name: x}",
	} {
		if text, err := render(t, set); err == nil {
			t.Errorf("%s is accepted:\n%s", set, text)
		}
	}
}

// The chart's Caddyfile is one that the gateway takes.
func TestChartConfiguresTheGateway(t *testing.T) {
	for name, v := range values {
		for _, document := range strings.Split(rendered(t, v.set), "\n---\n") {
			var object core.ConfigMap
			if err := yaml.Unmarshal([]byte(document), &object); err != nil || object.Kind != "ConfigMap" || object.Data["pullgate.json"] != "" {
				continue
			}
			validate(t, name, object.Data["Caddyfile"])
		}
	}
}

func TestManifestsAreTheChart(t *testing.T) {
	for file, set := range map[string]string{
		"pullgate.yaml": "hostPort: 5000",
		"fleet.yaml":    "hostPort: 5000\n" + fleetValues,
	} {
		want := "# Made from deploy/helm/pullgate with " + strings.ReplaceAll(set, "\n", ", ") + ". Do not edit: go test -run Manifests -update\n" +
			rendered(t, set)
		if *update {
			if err := os.WriteFile(manifests+file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(manifests + file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("deploy/kubernetes/%s is not what the chart makes; run this test with -update", file)
		}
	}
}

func TestRecipesConfigureTheGateway(t *testing.T) {
	for _, name := range []string{"talos/Caddyfile", "docker/Caddyfile", "package/Caddyfile"} {
		raw, err := os.ReadFile(filepath.Join("../../../deploy", name))
		if err != nil {
			t.Fatal(err)
		}
		validate(t, name, string(raw))
	}
	raw, err := os.ReadFile("../../../deploy/talos/static-pod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var patch struct {
		Machine struct {
			Files []struct{ Path, Op, Content, Permissions string } `json:"files"`
			Pods  []core.Pod                                        `json:"pods"`
		} `json:"machine"`
	}
	// Talos reads 0o644, which this decoder does not take for a number.
	raw = bytes.ReplaceAll(raw, []byte("permissions: 0o644"), []byte(`permissions: "0o644"`))
	if err := yaml.UnmarshalStrict(raw, &patch); err != nil {
		t.Fatal(err)
	}
	if len(patch.Machine.Pods) != 1 || len(patch.Machine.Files) != 1 {
		t.Fatalf("got %d pods and %d files, want one of each", len(patch.Machine.Pods), len(patch.Machine.Files))
	}
	validate(t, "talos/static-pod.yaml", patch.Machine.Files[0].Content)
}

// validate has the gateway adapt a configuration.
func validate(t *testing.T, name, caddyfile string) {
	t.Helper()
	if caddyfile == "" {
		t.Fatalf("%s: no Caddyfile", name)
	}
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), gateway(t), "adapt", "--config", file)
	cmd.Env = append(os.Environ(), "HUB_USER=user", "HUB_TOKEN=token")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s\n%s", name, err, out, caddyfile)
	}
}

func parsed(t *testing.T, set string) map[string]any {
	t.Helper()
	v, err := chartutil.ReadValues([]byte(set))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func rendered(t *testing.T, set string) string {
	t.Helper()
	text, err := render(t, set)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func render(t *testing.T, set string) (string, error) {
	t.Helper()
	c, err := loader.Load(chartFolder)
	if err != nil {
		t.Fatal(err)
	}
	install := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	install.DryRun, install.ClientOnly, install.ReleaseName, install.Namespace = true, true, "pullgate", "pullgate"
	install.KubeVersion = &chartutil.KubeVersion{Version: "v1.33.0", Major: "1", Minor: "33"}
	release, err := install.RunWithContext(t.Context(), c, parsed(t, set))
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(release.Manifest, "---\n"), nil
}

// checkObject decodes an object strictly into the type that Kubernetes has for it.
func checkObject(t *testing.T, document string) {
	t.Helper()
	var about struct{ Kind string }
	if err := yaml.Unmarshal([]byte(document), &about); err != nil {
		t.Fatalf("%v in:\n%s", err, document)
	}
	object, known := map[string]any{
		"ConfigMap": &core.ConfigMap{}, "Service": &core.Service{}, "StatefulSet": &apps.StatefulSet{}, "Deployment": &apps.Deployment{},
		"NetworkPolicy": &networking.NetworkPolicy{}, "PodDisruptionBudget": &policy.PodDisruptionBudget{},
		"Ingress": &networking.Ingress{}, "ServiceMonitor": &monitoring.ServiceMonitor{}, "PrometheusRule": &monitoring.PrometheusRule{},
	}[about.Kind]
	if !known {
		t.Fatalf("an object of kind %q:\n%s", about.Kind, document)
	}
	if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
		t.Errorf("%v in:\n%s", err, document)
	}
	switch object := object.(type) {
	case *apps.StatefulSet:
		checkPod(t, object.Spec.Selector, object.Spec.Template, object.Spec.VolumeClaimTemplates)
	case *apps.Deployment:
		checkPod(t, object.Spec.Selector, object.Spec.Template, nil)
	}
}

// checkPod looks at what strict decoding does not see: mounts without volume and labels
// that the selector misses.
func checkPod(t *testing.T, selector *meta.LabelSelector, pod core.PodTemplateSpec, claims []core.PersistentVolumeClaim) {
	t.Helper()
	volumes := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, claim := range claims {
		if volumes[claim.Name] {
			t.Errorf("volume %s stands twice", claim.Name)
		}
		volumes[claim.Name] = true
	}
	for _, mount := range pod.Spec.Containers[0].VolumeMounts {
		if !volumes[mount.Name] {
			t.Errorf("mount %s has no volume", mount.Name)
		}
	}
	for label, value := range selector.MatchLabels {
		if pod.Labels[label] != value {
			t.Errorf("the selector wants %s=%s, the pod has %q", label, value, pod.Labels[label])
		}
	}
}

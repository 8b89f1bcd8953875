package release

import (
	"reflect"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// fleetValues are three gateways with a bucket.
const fleetValues = "replicas: 3\nfleet: {bucket: {url: 'https://s3.eu-central-1.amazonaws.com/bucket/prefix', secret: pullgate-bucket}, secret: pullgate-fleet}"

// What a fleet cannot do is refused with what to do in its place.
func TestChartRefusesWrongFleets(t *testing.T) {
	for set, want := range map[string]string{
		"replicas: 3": "3 gateways need fleet.secret, by which they know each other: kubectl create secret",
		"replicas: 2\nfleet: {bucket: {url: 'https://s3.example.com/bucket'}}":          "2 gateways need fleet.secret",
		fleetValues + "\nstorage: {existingClaim: cache}":                               "storage.existingClaim is one volume",
		"fleet: {bucket: {url: 's3://bucket/prefix'}}":                                  `"s3://bucket/prefix" is no URL of a bucket: want https://host/bucket`,
		"fleet: {bucket: {url: 'https://key:secret@s3.example.com/bucket'}}":            "is no URL of a bucket",
		"fleet: {bucket: {url: 'https://s3.example.com/'}}":                             "is no URL of a bucket",
		"fleet: {bucket: {secret: pullgate-bucket}}":                                    "fleet.bucket has no url",
		"fleet: {bucket: {url: 'https://s3.example.com/bucket', maxUnused: '90'}}":      "maxUnused",
		"fleet: {bucket: {url: 'https://s3.example.com/bucket', maxSize: 10}}":          "maxSize",
		"fleet: {bucket: {url: 'https://s3.example.com/bucket', credentials: literal}}": "credentials",
		"fleet: {peers: [a]}": "peers",
		"replicas: 0":         "replicas",
		"replicas: three":     "replicas",
	} {
		if text, err := render(t, set); err == nil {
			t.Errorf("%s is accepted:\n%s", set, text)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is refused with %q, want %q", set, err, want)
		}
	}
}

// A gateway becomes three, with its volume: Kubernetes refuses to change the rest of a
// StatefulSet.
func TestChartGrowsToAFleet(t *testing.T) {
	one, three := objectOf[apps.StatefulSet](t, "", "StatefulSet"), objectOf[apps.StatefulSet](t, fleetValues, "StatefulSet")
	if *one.Spec.Replicas != 1 || *three.Spec.Replicas != 3 {
		t.Errorf("%d and %d replicas, want 1 and 3", *one.Spec.Replicas, *three.Spec.Replicas)
	}
	for _, set := range []*apps.StatefulSet{&one, &three} {
		set.Spec.Replicas, set.Spec.Template = nil, core.PodTemplateSpec{}
	}
	if !reflect.DeepEqual(one.Spec, three.Spec) {
		t.Errorf("one gateway and three differ in what cannot be changed:\n%+v\n%+v", one.Spec, three.Spec)
	}
}

// The port by which gateways know each other is the same at the pod, in its configuration,
// in the name with all addresses, and in the rule who may reach it.
func TestChartConnectsTheFleet(t *testing.T) {
	pod := objectOf[apps.StatefulSet](t, fleetValues, "StatefulSet").Spec.Template
	var port int32
	for _, p := range pod.Spec.Containers[0].Ports {
		if p.Name == "peers" {
			port = p.ContainerPort
		}
	}
	if port != 5001 {
		t.Errorf("the pod's port for peers is %d", port)
	}
	service := objectOf[core.Service](t, fleetValues, "Service", "pullgate-peers")
	if service.Spec.ClusterIP != core.ClusterIPNone || len(service.Spec.Ports) != 1 || service.Spec.Ports[0].Port != port {
		t.Errorf("the name of all gateways is %+v, want a headless one with port %d", service.Spec, port)
	}
	caddyfile := objectOf[core.ConfigMap](t, fleetValues, "ConfigMap").Data["Caddyfile"]
	if !strings.Contains(caddyfile, "peers pullgate-peers:5001") {
		t.Errorf("the gateways do not look for each other there:\n%s", caddyfile)
	}
	rules := objectOf[networking.NetworkPolicy](t, fleetValues, "NetworkPolicy").Spec
	for _, rule := range rules.Ingress {
		for _, p := range rule.Ports {
			if p.Port.StrVal == "peers" && (len(rule.From) != 1 || !reflect.DeepEqual(*rule.From[0].PodSelector, rules.PodSelector)) {
				t.Errorf("port %s is open to %+v", p.Port, rule.From)
			}
		}
	}
}

// objectOf returns the one object of a kind, and of a name where that is given, that
// values make.
func objectOf[T any](t *testing.T, set, kind string, name ...string) (object T) {
	t.Helper()
	for _, document := range strings.Split(rendered(t, set), "\n---\n") {
		var about struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if err := yaml.Unmarshal([]byte(document), &about); err != nil {
			t.Fatal(err)
		}
		if about.Kind != kind || len(name) > 0 && about.Metadata.Name != name[0] {
			continue
		}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		return object
	}
	t.Fatalf("no %s %v", kind, name)
	return object
}

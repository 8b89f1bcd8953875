package operate

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

var errNoSecret = errors.New("no such secret")

// testSites are two sites that see different content under one name, and one upstream
// whose secrets are missing.
func testSites() Sites {
	looked := func(identity string) func() (string, error) { return func() (string, error) { return identity, nil } }
	return Sites{
		{
			Names: map[string]string{"docker.io": "docker.io", "hub": "docker.io", "ghcr.io": "ghcr.io"},
			Upstreams: []*Upstream{
				{Name: "docker.io", LookUp: looked("docker.io"), MaxSize: 7, Public: true},
				{Name: "ghcr.io", LookUp: func() (string, error) { return "", errNoSecret }, Isolated: true},
			},
		},
		{
			Names:     map[string]string{"docker.io": "docker.io"},
			Upstreams: []*Upstream{{Name: "docker.io", LookUp: looked("docker.io#0123456789ab"), Isolated: true}},
		},
	}
}

func TestPlacesOfAnImage(t *testing.T) {
	sites := testSites()
	alpine := imagelist.Image{Upstream: "hub", Repository: "alpine", Tag: "3"}
	if err := sites.LookUp([]imagelist.Image{alpine}); err != nil {
		t.Fatal(err)
	}
	places, unknown := sites.places(alpine)
	if len(places) != 1 || unknown != "" || places[0].scope() != (oci.Scope{Upstream: "docker.io", Repository: "library/alpine"}) {
		t.Errorf("by the alias of one site: %+v, %q", places, unknown)
	}
	alpine.Upstream = "docker.io"
	if err := sites.LookUp([]imagelist.Image{alpine}); err != nil {
		t.Fatal(err)
	}
	if places, _ := sites.places(alpine); len(places) != 2 {
		t.Errorf("by the name of both: %+v", places)
	}
	if _, unknown := sites.places(imagelist.Image{Upstream: "quay.io"}); !strings.Contains(unknown, "no site mirrors quay.io") {
		t.Errorf("unknown says %q", unknown)
	}
	if err := sites.LookUp([]imagelist.Image{{Upstream: "ghcr.io"}}); !errors.Is(err, errNoSecret) {
		t.Errorf("a missing secret: %v", err)
	}
	var limits storage.Limits
	sites.Limit(&limits)
	if !reflect.DeepEqual(limits.Upstreams, map[string]int64{"docker.io": 7}) {
		t.Errorf("limits are %v", limits.Upstreams)
	}
}

func TestIdentities(t *testing.T) {
	sites := testSites()
	if got := sites.name("hub"); got != "docker.io" || sites.name("quay.io") != "quay.io" {
		t.Errorf("hub is %s", got)
	}
	old := oci.Scope{Upstream: "docker.io#ba9876543210", Repository: "a"}
	if !sites.serves(old) {
		t.Error("what is not looked up is known not to be served")
	}
	if err := sites.lookUp("docker.io"); err != nil {
		t.Fatal(err)
	}
	if sites.serves(old) || !sites.serves(oci.Scope{Upstream: "docker.io#0123456789ab"}) || !sites.serves(oci.Scope{Upstream: "quay.io"}) {
		t.Error("what is served is not what is configured, or nowhere")
	}
	if got := sites.scopes("docker.io", "a"); len(got) != 2 {
		t.Errorf("scopes are %v", got)
	}
	if got := sites.scopes("quay.io", "a"); !reflect.DeepEqual(got, []oci.Scope{{Upstream: "quay.io", Repository: "a"}}) {
		t.Errorf("scopes of an upstream that is not configured are %v", got)
	}
	for identity, want := range map[string]struct{ isolated, public bool }{
		"docker.io":              {false, true},
		"docker.io#0123456789ab": {true, false},
		"docker.io#ba9876543210": {true, false}, // nobody knows what it was
		"ghcr.io":                {true, true},  // its identity is not known
		"quay.io":                {false, true},
	} {
		if isolated, public := sites.isolated(identity), sites.public(identity); isolated != want.isolated || public != want.public {
			t.Errorf("%s: isolated %v, public %v", identity, isolated, public)
		}
	}
	if err := sites.lookUp("ghcr.io"); !errors.Is(err, errNoSecret) || !strings.Contains(err.Error(), "where images of ghcr.io lie") {
		t.Errorf("error is %v", err)
	}
}

package operate

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/oci"
)

// What is written of a request is read again, and the defaults are left out.
func TestParametersComeBack(t *testing.T) {
	selection, err := oci.ParseSelection("docker.io/library/alpine:3")
	if err != nil {
		t.Fatal(err)
	}
	pin, err := oci.ParsePin("ghcr.io/org/**")
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := ParsePlatforms([]string{"linux/amd64", "linux/arm/v7", "linux/amd64"})
	if err != nil || len(platforms) != 2 {
		t.Fatal(platforms, err)
	}
	images := ImageRequest{Path: "/a", Choice: image.Choice{Platforms: platforms, Referrers: true}}
	type request interface{ Parameters() Parameters }
	for _, c := range []struct {
		from, to request
		query    string
	}{
		{&InventoryRequest{Path: "/a b", Selection: selection}, new(InventoryRequest), "path=%2Fa+b&selection=docker.io%2Flibrary%2Falpine%3A3"},
		{new(InventoryRequest), new(InventoryRequest), ""},
		{&RemoveRequest{Selection: selection, DryRun: true}, new(RemoveRequest), "dry_run=1&selection=docker.io%2Flibrary%2Falpine%3A3"},
		{&PinRequest{Pin: pin}, new(PinRequest), "pattern=ghcr.io%2Forg%2F%2A%2A"},
		{&CheckRequest{Verify: true, Rate: 1 << 20}, new(CheckRequest), "rate=1048576&verify=1"},
		{&VerifyRequest{ImageRequest: images, Deep: true}, new(VerifyRequest), "deep=1&path=%2Fa&platform=linux%2Famd64%2Clinux%2Farm%2Fv7&referrers=1"},
		{&PreloadRequest{Parallel: 7}, new(PreloadRequest), "parallel=7"},
		{&ExportRequest{Report: true}, new(ExportRequest), "report=1"},
		{&ImportRequest{NoMove: true, AllowPublic: true}, new(ImportRequest), "allow_public=1&no_move=1"},
	} {
		if got := c.from.Parameters().Encode(); got != c.query {
			t.Errorf("%+v: query is %s, want %s", c.from, got, c.query)
		}
		if err := c.to.Parameters().Decode(c.query); err != nil || !reflect.DeepEqual(c.from, c.to) {
			t.Errorf("%s: %+v, %v, want %+v", c.query, c.to, err, c.from)
		}
	}
}

func TestParametersAreRefused(t *testing.T) {
	for query, want := range map[string]string{
		"verfy=1":     "verfy: not a parameter: want path, rate, rebuild, repair or verify",
		"verify=yes":  `verify: "yes" is neither 1 nor 0`,
		"rate=fast":   `rate: "fast" is no size: want such as 200GiB`,
		"rebuild=1":   "rebuild: " + ErrRebuildOpen.Error(),
		"verify=%zz1": "invalid URL escape",
	} {
		err := new(CheckRequest).Parameters().Decode(query)
		refusal, ok := errors.AsType[*RefusedError](err)
		if !ok || refusal.Status != http.StatusBadRequest || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", query, err, want)
		}
	}
	if err := new(CheckRequest).Parameters().Decode("rebuild=0&path=/a"); err != nil {
		t.Error(err)
	}
	for _, value := range []string{"0", "65", "many", ""} {
		if n, err := ParseParallel(value); err == nil {
			t.Errorf("%q is %d", value, n)
		}
	}
}

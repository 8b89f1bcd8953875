package config

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// JSON is checked as a Caddyfile is, secrets are looked up when it is loaded, and none gets
// into an error.
func TestFleetOptions(t *testing.T) {
	t.Setenv("S3_SECRET", "hush")
	keys := func(access, secret string) *BucketCredentials {
		return &BucketCredentials{AccessKey: access, SecretKey: secret}
	}
	const url = "https://s3.example.com/cache"
	for want, f := range map[string]Fleet{
		"no URL of a bucket":       {Credentials: keys("key", "{env.S3_SECRET}")},
		"names no bucket":          {URL: "https://s3.example.com", Credentials: keys("key", "{env.S3_SECRET}")},
		"holds a user name":        {URL: "https://key:hush@s3.example.com/cache", Credentials: keys("key", "{env.S3_SECRET}")},
		"no credentials":           {URL: url},
		"hold a literal secret":    {URL: url, Credentials: keys("key", "hush")},
		"need an access key":       {URL: url, Credentials: keys("", "{env.S3_SECRET}")},
		`unknown provider "azure"`: {URL: url, Credentials: &BucketCredentials{Provider: "azure"}},
		"or a provider":            {URL: url, Credentials: &BucketCredentials{Provider: "aws", AccessKey: "key"}},
		"cannot be negative":       {URL: url, Credentials: keys("key", "{env.S3_SECRET}"), MaxUnused: -1},
		"fleet: secret key":        {URL: url, Credentials: keys("key", "{env.S3_NONE}")},
		"fleet: access key: ":      {URL: url, Credentials: keys("{env.S3_NONE}", "{env.S3_SECRET}")},
		"fleet: url: evaluated":    {URL: "{env.S3_NONE}", Credentials: keys("key", "{env.S3_SECRET}")},
	} {
		if _, err := f.Options(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	f := Fleet{URL: url, Credentials: keys("key", "{env.S3_SECRET}"), Region: "garage"}
	if o, err := f.Options(); err != nil || o.URL != url || o.AccessKey != "key" || o.SecretKey != "hush" || o.Region != "garage" {
		t.Errorf("%+v, %v", o, err)
	}
	f.Credentials = &BucketCredentials{Provider: "aws"}
	if o, err := f.Options(); err != nil || o.AccessKey != "" || o.SecretKey != "" {
		t.Errorf("%+v, %v", o, err)
	}
}

// Peers are checked as JSON, too, and their secret is looked up when it is loaded, and is
// none that can be guessed.
func TestPeersOptions(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	t.Setenv("FLEET_SECRET", secret)
	t.Setenv("FLEET_HUSH", "hush")
	one := []string{"gateways:5001"}
	for want, p := range map[string]Peers{
		"nothing is shared":     {},
		"there are none":        {Secret: "{env.FLEET_SECRET}"},
		"peers need a secret":   {Peers: one},
		"is a literal one":      {Peers: one, Secret: "hush" + secret},
		"no host with a port":   {Peers: []string{"gateways"}, Secret: "{env.FLEET_SECRET}"},
		`":5001" is no host`:    {Peers: []string{":5001"}, Secret: "{env.FLEET_SECRET}"},
		"has to have one port":  {Peers: one, Secret: "{env.FLEET_SECRET}", Listen: ":5001-5002"},
		"have several ports":    {Peers: []string{"a:1", "b:2"}, Secret: "{env.FLEET_SECRET}"},
		"secret has 4 bytes":    {Peers: one, Secret: "{env.FLEET_HUSH}"},
		"fleet: secret: evalua": {Peers: one, Secret: "{env.FLEET_NONE}"},
	} {
		f := Fleet{Peers: p}
		err := f.Check()
		if err == nil {
			_, err = f.LookUpSecret()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	f := Fleet{Peers: Peers{Peers: []string{"a:5001", "b:5001"}, Secret: "{env.FLEET_SECRET}"}}
	if err := f.Check(); err != nil || f.HasBucket() {
		t.Error(err)
	}
	if got, err := f.LookUpSecret(); err != nil || got != secret {
		t.Errorf("%q, %v", got, err)
	}
	if at, err := f.ListenAddress(); err != nil || at.JoinHostPort(0) != ":5001" {
		t.Errorf("%s, %v", at, err)
	}
	f.Listen = "10.0.0.1:5002"
	if at, err := f.ListenAddress(); err != nil || at.JoinHostPort(0) != "10.0.0.1:5002" {
		t.Errorf("%s, %v", at, err)
	}
}

// Whoever looks for Redis or Valkey is told what stands in for them.
func TestFleetHasNoRedis(t *testing.T) {
	for name, want := range map[string]bool{"redis": true, "valkey": true, "memcached": false} {
		d := caddyfile.NewTestDispenser("fleet {\n" + name + " redis://localhost:6379\n}")
		d.Next()
		err := new(Fleet).UnmarshalCaddyfile(d)
		if err == nil || !strings.Contains(err.Error(), "unrecognized subdirective '"+name+"' of fleet") || strings.Contains(err.Error(), "find each other by peers") != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package config

import (
	"strings"
	"testing"
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

package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/pullgate/pullgate/internal/bucket"
)

// Fleet is what gateways share: a bucket of an S3 server, which each of them reads before
// it asks a registry, and writes what it has pulled to; and what they answer each other, so
// that one alone asks the registry. At least one of the two is required.
type Fleet struct {
	// The bucket: https://host/bucket, or https://host/bucket/prefix. It may hold the
	// placeholders {env.*} and {file.*}. Default: none.
	URL string `json:"url,omitempty"`

	// Who reads and writes the bucket. Required with one.
	Credentials *BucketCredentials `json:"credentials,omitempty"`

	// The region that requests are signed for. Default: the one that the host of the URL
	// names, or else us-east-1.
	Region string `json:"region,omitempty"`

	// The most bytes that blobs may take in the bucket; those that nobody used for the
	// longest go first. Default: 0, no limit.
	MaxSize int64 `json:"max_size,omitempty"`

	// Forget what nobody has pulled for so long, on whichever gateway. Default: 0, never.
	MaxUnused caddy.Duration `json:"max_unused,omitempty"`

	// Send clients to the bucket for large blobs. Default: null, never.
	Redirect *Redirect `json:"redirect,omitempty"`

	Peers
}

// BucketCredentials are an access key and its secret, or a provider.
type BucketCredentials struct {
	// Both may hold the placeholders {env.*} and {file.*}; the secret has to be one.
	AccessKey string `json:"access_key,omitempty"`
	SecretKey string `json:"secret_key,omitempty"`

	// aws stands for whoever the AWS SDK finds in its usual places: the environment, the
	// files in ~/.aws, the role of the machine or of the pod.
	Provider string `json:"provider,omitempty"`
}

const awsProvider = "aws"

// Check tells what is wrong with the form of the values.
func (f *Fleet) Check() error {
	if err := errors.Join(f.checkBucket(), f.checkLimits(), f.Peers.check()); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	return nil
}

// HasBucket reports whether a bucket is shared.
func (f *Fleet) HasBucket() bool { return f.URL != "" }

func (f *Fleet) checkBucket() error {
	switch {
	case f.HasBucket():
		return errors.Join(f.checkURL(), f.Credentials.check(), f.Redirect.check())
	case f.Credentials != nil || f.Region != "" || f.MaxSize != 0 || f.MaxUnused != 0 || f.Redirect != nil:
		return errors.New("credentials, region, redirect, max_size and max_unused are for a bucket, and there is no URL of a bucket: want such as https://s3.eu-central-1.amazonaws.com/bucket")
	case len(f.Peers.Peers) == 0:
		return errors.New("nothing is shared: want the URL of a bucket, such as https://s3.eu-central-1.amazonaws.com/bucket, or peers, or both")
	}
	return nil
}

func (f *Fleet) checkURL() error {
	switch {
	case strings.Contains(f.URL, "{"):
		return nil // it is looked up when the configuration is loaded
	}
	_, err := bucket.ParseURL(f.URL)
	return err
}

func (f *Fleet) checkLimits() error {
	if f.MaxSize < 0 || f.MaxUnused < 0 {
		return errors.New("max_size and max_unused cannot be negative; leave out a limit to have its default")
	}
	return nil
}

// check never shows the secret.
func (c *BucketCredentials) check() error {
	switch {
	case c == nil, *c == BucketCredentials{}:
		return errors.New("no credentials: want an access key and {env.NAME} or {file./path} for its secret, or aws for what the AWS SDK finds in its usual places")
	case c.Provider != "" && (c.AccessKey != "" || c.SecretKey != ""):
		return errors.New("credentials are either an access key and its secret, or a provider")
	case c.Provider != "" && c.Provider != awsProvider:
		return fmt.Errorf("credentials: unknown provider %q: want aws, or an access key and its secret", c.Provider)
	case c.Provider != "":
		return nil
	case c.AccessKey == "" || c.SecretKey == "":
		return errors.New("credentials need an access key and its secret")
	case !secretPattern.MatchString(c.SecretKey):
		return errors.New("credentials hold a literal secret, which would be stored and shown with the configuration; write {env.NAME} or {file./path} in its place")
	}
	return nil
}

// Options returns what the bucket is opened with.
func (f *Fleet) Options() (o bucket.Options, err error) {
	if err := f.Check(); err != nil {
		return o, err
	}
	repl := caddy.NewReplacer()
	o.Region = f.Region
	for option, value := range map[string]struct {
		from string
		to   *string
	}{
		"url": {f.URL, &o.URL}, "access key": {f.Credentials.AccessKey, &o.AccessKey}, "secret key": {f.Credentials.SecretKey, &o.SecretKey},
	} {
		if *value.to, err = lookUp(repl, value.from); err != nil {
			return o, fmt.Errorf("fleet: %s: %w", option, err)
		}
	}
	return o, nil
}

// UnmarshalCaddyfile reads what stands after the option fleet.
func (f *Fleet) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	line := *d
	if args := d.RemainingArgs(); len(args) > 1 {
		return line.ArgErr()
	} else if len(args) == 1 {
		f.URL = args[0]
	}
	err := parseBlock(d, "fleet", fleetOptions, f, func(*caddyfile.Dispenser, []string) error { return nil })
	switch {
	case err != nil && (d.Val() == "valkey" || d.Val() == "redis"):
		return fmt.Errorf("%w; neither Redis nor Valkey is of use: gateways find each other by peers, and what they share lies in the bucket", err)
	case err != nil:
		return err
	}
	if err := f.Check(); err != nil {
		return line.WrapErr(err)
	}
	return nil
}

// fleetOptions are those of the block fleet.
var fleetOptions = map[string]option[Fleet]{
	"credentials": {usage: "<access_key>|aws [{env.<NAME>}|{file.<path>}]", set: func(f *Fleet, args []string) error {
		f.Credentials = new(BucketCredentials)
		if len(args) == 1 {
			f.Credentials.Provider = args[0]
		} else {
			f.Credentials.AccessKey, f.Credentials.SecretKey = args[0], args[1]
		}
		return f.Credentials.check()
	}},
	"max_size": size("max_size", func(f *Fleet) *int64 { return &f.MaxSize }),
	"max_unused": {usage: "<duration>", set: func(f *Fleet, args []string) (err error) {
		f.MaxUnused, err = parseDuration("max_unused", args[0], "d")
		return err
	}},
	"redirect": {usage: "large|<size> [<url>]", set: func(f *Fleet, args []string) error {
		f.Redirect = new(Redirect)
		return f.Redirect.parse(args)
	}},
	"region": {usage: "<name>", set: func(f *Fleet, args []string) error {
		f.Region = args[0]
		return nil
	}},
	"peers": list("<host:port>...", func(f *Fleet) *[]string { return &f.Peers.Peers }, checkPeer),
	"listen": {usage: "<address>", set: func(f *Fleet, args []string) error {
		f.Listen = args[0]
		return checkListen(args[0])
	}},
	"secret": {usage: "{env.<NAME>}|{file.<path>}", set: func(f *Fleet, args []string) error {
		f.Secret = args[0]
		return f.Peers.checkSecret()
	}},
}

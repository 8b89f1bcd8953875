// Package bucket keeps objects in a bucket of an S3 server. It alone imports the S3
// client.
//
// The server need not do more than the oldest of S3: no conditional writes, checksums or
// life cycles. What it does of these is made use of. It refuses bytes that do not match
// the hash that they were announced with, over plain HTTP too.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Options make a Bucket. They are comparable.
type Options struct {
	// URL is https://host[:port]/bucket[/prefix].
	URL string
	// AccessKey and SecretKey say who asks; empty = whoever the AWS SDK finds in its usual
	// places.
	AccessKey, SecretKey string
	// Region is what requests are signed for; empty = what the host of the URL names, or
	// else us-east-1.
	Region string
}

// defaultRegion is what servers sign for that know no regions.
const defaultRegion = "us-east-1"

// regionalHost is an endpoint of AWS (AWS General Reference, "Amazon S3 endpoints and
// quotas").
var regionalHost = regexp.MustCompile(`^s3[.-](?:fips\.|dualstack\.)*([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$`)

// Place is where a URL leads: a bucket of a server, and the prefix of its keys, which
// ends in a slash if it is not empty.
type Place struct{ Endpoint, Bucket, Prefix, Region string }

// ParseURL returns where a URL leads. A text that may hold a password does not get into
// the error.
func ParseURL(s string) (Place, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return Place{}, errors.New("the URL of the bucket cannot be parsed: want https://host/bucket or https://host/bucket/prefix")
	case u.User != nil:
		return Place{}, errors.New("the URL of the bucket holds a user name: put the keys into the option credentials")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.RawQuery != "", u.Fragment != "":
		return Place{}, fmt.Errorf("%q is no URL of a bucket: want https://host/bucket or https://host/bucket/prefix", s)
	}
	p := Place{Endpoint: u.Scheme + "://" + u.Host, Region: defaultRegion}
	p.Bucket, p.Prefix, _ = strings.Cut(strings.Trim(u.Path, "/"), "/")
	if p.Bucket == "" {
		return Place{}, fmt.Errorf("%q names no bucket: want %s/<bucket>", s, p.Endpoint)
	}
	if p.Prefix != "" {
		p.Prefix += "/"
	}
	if m := regionalHost.FindStringSubmatch(u.Hostname()); m != nil {
		p.Region = m[1]
	}
	return p, nil
}

// Bucket is where objects lie. Its methods are safe for concurrent use; none tries twice.
// What is absent is fs.ErrNotExist, except the bucket itself; a Head cannot tell the two
// apart.
type Bucket struct {
	client    *s3.Client
	place     Place
	transport *http.Transport
}

// Open returns a Bucket. It connects to nothing.
func Open(o Options) (*Bucket, error) {
	place, err := ParseURL(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Region != "" {
		place.Region = o.Region
	}
	who, err := o.provider()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 5 * time.Second,
		ExpectContinueTimeout: time.Second, DisableCompression: true,
	}
	return &Bucket{place: place, transport: transport, client: s3.New(s3.Options{
		BaseEndpoint: aws.String(place.Endpoint), UsePathStyle: true, Region: place.Region, Credentials: who,
		HTTPClient: &http.Client{Transport: transport}, Retryer: aws.NopRetryer{},
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})}, nil
}

// provider returns who asks.
func (o Options) provider() (aws.CredentialsProvider, error) {
	if o.AccessKey != "" {
		keys := aws.Credentials{AccessKeyID: o.AccessKey, SecretAccessKey: o.SecretKey}
		return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil }), nil
	}
	loaded, err := config.LoadDefaultConfig(context.Background(), config.WithRegion(defaultRegion))
	if err != nil {
		return nil, fmt.Errorf("load AWS configuration: %w", err)
	}
	return loaded.Credentials, nil
}

// Close closes the connections that nobody uses.
func (b *Bucket) Close() { b.transport.CloseIdleConnections() }

// Info is what is known of an object. What a server does not tell, or not in a list, is
// the zero value.
type Info struct {
	Key         string
	Size        int64
	ETag        string
	ContentType string
	Modified    time.Time
	Meta        map[string]string
}

// Object is an object that is read: the whole, or a part that begins at Offset. Size is
// that of the whole.
type Object struct {
	io.ReadCloser
	Info

	Offset int64
}

// PutOptions say more of an object that is written.
type PutOptions struct {
	// SHA256 is the hash of the content in hexadecimal; empty = it is computed.
	SHA256      string
	ContentType string
	Meta        map[string]string
	// IfAbsent writes only where there is nothing, and IfMatch only over what has this
	// ETag, as far as the server heeds it: else it is ErrChanged.
	IfAbsent bool
	IfMatch  string
}

// ErrChanged means that there is another object than a request was for.
var ErrChanged = errors.New("there is another object")

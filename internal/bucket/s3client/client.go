// Package s3client is the client of an S3 server. It alone imports Amazon's.
//
// The server need not do more than the oldest of S3: no conditional writes, checksums or
// life cycles. What it does of these is made use of. It refuses bytes that do not match
// the hash that they were announced with, over plain HTTP too.
package s3client

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pullgate/pullgate/internal/bucket"
)

// Client is a bucket. It implements bucket.Bucket.
type Client struct {
	client    *s3.Client
	place     bucket.Place
	part      int64 // bucket.Options.PartSize
	transport *http.Transport
}

// Open returns the client of a bucket. It connects to nothing.
func Open(o bucket.Options) (*Client, error) {
	place, err := bucket.ParseURL(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Region != "" {
		place.Region = o.Region
	}
	who, err := provider(o)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 5 * time.Second,
		ExpectContinueTimeout: time.Second, DisableCompression: true,
	}
	return &Client{place: place, part: o.PartSize, transport: transport, client: s3.New(s3.Options{
		BaseEndpoint: aws.String(place.Endpoint), UsePathStyle: true, Region: place.Region, Credentials: who,
		HTTPClient: &http.Client{Transport: transport, CheckRedirect: stay}, Retryer: aws.NopRetryer{},
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})}, nil
}

// stay has a redirect be an error that tells of it: nothing is asked of another server.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// provider returns who asks.
func provider(o bucket.Options) (aws.CredentialsProvider, error) {
	if o.AccessKey != "" {
		keys := aws.Credentials{AccessKeyID: o.AccessKey, SecretAccessKey: o.SecretKey}
		return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil }), nil
	}
	loaded, err := config.LoadDefaultConfig(context.Background(), config.WithRegion(bucket.DefaultRegion))
	if err != nil {
		return nil, fmt.Errorf("load AWS configuration: %w", err)
	}
	return loaded.Credentials, nil
}

// Close closes the connections that nobody uses.
func (b *Client) Close() { b.transport.CloseIdleConnections() }

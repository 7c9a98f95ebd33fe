package health

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// cri is a CRI whose list of pods does what a test wants.
type cri struct {
	runtime.UnimplementedRuntimeServiceServer
	list func(context.Context) error
}

func (c *cri) Version(context.Context, *runtime.VersionRequest) (*runtime.VersionResponse, error) {
	return &runtime.VersionResponse{RuntimeName: "test"}, nil
}

func (c *cri) ListPodSandbox(ctx context.Context, _ *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	return &runtime.ListPodSandboxResponse{}, c.list(ctx)
}

// ask serves a CRI, and asks over sockets whether it works.
func ask(t *testing.T, list func(context.Context) error, limit time.Duration) (int, string) {
	t.Helper()
	folder := t.TempDir()
	own := filepath.Join(folder, "containerd.sock")
	listener, err := net.Listen("unix", own)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	runtime.RegisterRuntimeServiceServer(server, &cri{list: list})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	connection, err := grpc.NewClient("unix://"+own, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })

	path := filepath.Join(folder, "health.sock")
	questions, err := listen(path, os.Getegid())
	if err != nil {
		t.Fatal(err)
	}
	health := newServer(runtime.NewRuntimeServiceClient(connection), limit)
	go func() { _ = health.Serve(questions) }()
	t.Cleanup(func() { _ = health.Close() })

	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	response, err := client.Get("http://containerd/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestRuntimeThatWorksIsOk(t *testing.T) {
	status, body := ask(t, func(context.Context) error { return nil }, callLimit)
	if status != http.StatusOK || body != "ok\n" {
		t.Fatalf("%d %q", status, body)
	}
}

func TestRuntimeThatHangsIsNotOk(t *testing.T) {
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	status, body := ask(t, hang, 50*time.Millisecond)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "does not list pods") {
		t.Fatalf("%d %q", status, body)
	}
}

func TestErrorOfRuntimeIsToldWithinItsBound(t *testing.T) {
	status, body := ask(t, func(context.Context) error { return errors.New(strings.Repeat("é", 1000)) }, callLimit)
	if status != http.StatusServiceUnavailable || len(body) > errorMaximum+1 {
		t.Fatalf("%d %q", status, body)
	}
}

func TestSocketIsForItsGroupAndReplacesAnEarlierOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "health.sock")
	for range 2 {
		listener, err := listen(path, os.Getegid())
		if err != nil {
			t.Fatal(err)
		}
		// what a killed process leaves
		listener.(*net.UnixListener).SetUnlinkOnClose(false)
		_ = listener.Close()
	}
	about, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if about.Mode() != fs.ModeSocket|0o660 {
		t.Fatalf("%v", about.Mode())
	}
}

// Package health is a containerd plugin that says, on a socket of its own, whether containerd does its work.
//
// Whoever may connect to containerd's own socket may run containers as root. The program that watches over
// containerd needs no such right: on this socket it gets one answer to one question, and nothing can be asked for.
// For each answer the plugin goes the kubelet's way: over containerd's own socket it asks the CRI for its version and
// for the pods that are ready, so that a server that hangs, or a store that is locked, gives no good answer.
package health

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// callLimit bounds both calls together. Who asks here waits two seconds longer.
	callLimit = 8 * time.Second
	// headLimit bounds the time for a request's head, headMaximum its length in bytes, which is rounded up by 4 KiB.
	headLimit   = 2 * time.Second
	headMaximum = 1024
	// atOnce bounds the requests that are answered side by side. There is one client.
	atOnce = 4
	// answerMaximum bounds the list of pods in bytes, as the kubelet does (pkg/kubelet cri-client, maxMsgSize).
	answerMaximum = 16 << 20
	// errorMaximum bounds what is said of an error, in bytes.
	errorMaximum = 512
)

// Config is the plugin's section of config.toml.
type Config struct {
	// Path is the socket at which questions are answered.
	Path string `toml:"path"`
	// Group may connect to it, besides root.
	Group int `toml:"gid"`
	// Containerd is containerd's own socket.
	Containerd string `toml:"containerd"`
}

func init() {
	registry.Register(&plugin.Registration{
		Type: "io.k3s-daas.v1",
		ID:   "health",
		Config: &Config{
			Path:       "/run/containerd/health.sock",
			Containerd: "/run/containerd/containerd.sock",
		},
		InitFn: start,
	})
}

// start listens. It never keeps containerd from starting: without the socket, containerd is not watched over.
func start(ic *plugin.InitContext) (any, error) {
	config, ok := ic.Config.(*Config)
	if !ok {
		return nil, fmt.Errorf("the configuration has the type %T", ic.Config)
	}
	connection, err := grpc.NewClient("unix://"+config.Containerd,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerMaximum)),
	)
	if err != nil {
		return nil, fmt.Errorf("create a client of %s: %w", config.Containerd, err)
	}
	listener, err := listen(config.Path, config.Group)
	if err != nil {
		_ = connection.Close()
		return nil, err
	}
	server := newServer(runtime.NewRuntimeServiceClient(connection), callLimit)
	go func() {
		err := server.Serve(listener)
		log.G(ic.Context).WithError(err).Error("nobody can ask whether containerd works any more")
	}()
	return server, nil
}

// listen makes the socket. Until it has its owner and mode, root alone can connect (unix(7): that takes the right to
// write, which the process's umask leaves to the owner).
func listen(path string, group int) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove what another run has left: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	err = os.Chown(path, os.Geteuid(), group)
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	return listener, nil
}

func newServer(cri runtime.RuntimeServiceClient, limit time.Duration) *http.Server {
	places := make(chan struct{}, atOnce)
	answer := func(response http.ResponseWriter, request *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		default:
			http.Error(response, "too many questions at once", http.StatusTooManyRequests)
			return
		}
		ctx, cancel := context.WithTimeout(request.Context(), limit)
		defer cancel()
		if err := check(ctx, cri); err != nil {
			text := err.Error()
			text = strings.ToValidUTF8(text[:min(len(text), errorMaximum)], "")
			http.Error(response, text, http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(response, "ok")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", answer)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: headLimit,
		ReadTimeout:       headLimit,
		WriteTimeout:      limit + headLimit,
		MaxHeaderBytes:    headMaximum,
	}
	server.SetKeepAlivesEnabled(false)
	return server
}

// check asks the CRI as the kubelet does.
func check(ctx context.Context, cri runtime.RuntimeServiceClient) error {
	if _, err := cri.Version(ctx, &runtime.VersionRequest{}); err != nil {
		return fmt.Errorf("the CRI does not say its version: %w", err)
	}
	ready := &runtime.PodSandboxStateValue{State: runtime.PodSandboxState_SANDBOX_READY}
	request := &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{State: ready}}
	if _, err := cri.ListPodSandbox(ctx, request); err != nil {
		return fmt.Errorf("the CRI does not list pods: %w", err)
	}
	return nil
}

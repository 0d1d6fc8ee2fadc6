/* A libcuda.so.1 as far as device_plugin.enforcing.mps_trial and bench.gpu_day.workloads.cuda call it.

   It behaves as a client of the MPS daemon that CUDA_MPS_PIPE_DIRECTORY names, and keeps to the limit of its GPU in
   CUDA_MPS_PINNED_DEVICE_MEM_LIMIT. Files in that folder change it: "refuses" (no context), "hangs-at-init",
   "no-client" (never listed as a client), "no-limit" (the limit is ignored), "full" (8 MiB are free),
   "crowded" (512 MiB are free, and no limit). */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static size_t taken = 0;

static const char *folder(void) {
  const char *found = getenv("CUDA_MPS_PIPE_DIRECTORY");
  return found ? found : "/nonexistent";
}

static int is(const char *mode) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder(), mode);
  return access(path, F_OK) == 0;
}

static size_t limit(void) {
  const char *gpu = getenv("CUDA_VISIBLE_DEVICES"), *limits = getenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT");
  const char *entry = gpu && limits ? strstr(limits, gpu) : NULL;
  unsigned long mib;
  if (entry == NULL || !is("control") || is("no-limit") || is("crowded")) return 0;
  if (sscanf(entry + strlen(gpu), "=%luM", &mib) != 1) return 0;
  return mib * MIB;
}

static size_t physical(void) { return is("full") ? 8 * MIB : is("crowded") ? 512 * MIB : 16384 * MIB; }

int cuInit(unsigned flags) {
  (void)flags;
  if (is("hangs-at-init")) sleep(60);
  return 0;
}

int cuDeviceGet(int *device, int ordinal) {
  *device = ordinal;
  return 0;
}

int cuCtxCreate_v2(void **context, unsigned flags, int device) {
  char path[4096];
  FILE *clients;
  (void)flags, (void)device;
  *context = &taken;
  if (is("refuses")) return 805; /* CUDA_ERROR_MPS_CONNECTION_FAILED */
  if (is("no-client")) return 0;
  /* The server is the parent, a process of the same user. */
  snprintf(path, sizeof path, "%s/get_client_list_%d", folder(), (int)getppid());
  clients = fopen(path, "a");
  if (clients == NULL) return 999;
  fprintf(clients, "%d\n", (int)getpid());
  fclose(clients);
  snprintf(path, sizeof path, "%s/get_server_list", folder());
  clients = fopen(path, "w");
  if (clients == NULL) return 999;
  fprintf(clients, "%d\n", (int)getppid());
  fclose(clients);
  return 0;
}

int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes) {
  *total_bytes = limit() ? limit() : 16384 * MIB;
  *free_bytes = (limit() ? limit() : physical()) - taken;
  return 0;
}

int cuMemAlloc_v2(uint64_t *block, size_t bytes) {
  if (taken + bytes > physical() || (limit() && taken + bytes > limit())) return 2;
  taken += bytes;
  *block = 1;
  return 0;
}

/* What bench.gpu_day calls besides. A process without a daemon at its folder is no client. */

static const char *image = "";
static int crashed = 0;

int cuDevicePrimaryCtxRetain(void **context, int device) {
  *context = &taken;
  return is("control") ? cuCtxCreate_v2(context, 0, device) : 0;
}

int cuCtxSetCurrent(void *context) { return context == &taken ? 0 : 201; }

int cuCtxSynchronize(void) { return crashed ? 700 : 0; }

int cuMemsetD8_v2(uint64_t block, unsigned char value, size_t bytes) {
  (void)value;
  return crashed ? 700 : block != 0 && bytes > 0 ? 0 : 1;
}

int cuMemAllocAsync(uint64_t *block, size_t bytes, void *stream) {
  return stream == NULL ? cuMemAlloc_v2(block, bytes) : 400;
}

struct properties { int type, handle_types, location_type, location_id; void *windows; unsigned char flags[8]; };

int cuMemCreate(uint64_t *handle, size_t bytes, const struct properties *properties, unsigned long long flags) {
  int is_asked_right = properties->type == 1 && properties->handle_types == 0 && properties->location_type == 1 &&
                       properties->location_id == 0 && flags == 0;
  return is_asked_right ? cuMemAlloc_v2(handle, bytes) : 1;
}

int cuModuleLoadData(void **module, const char *text) {
  image = text;
  *module = &image;
  return strstr(text, ".version") ? 0 : 218;
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
  char entry[256];
  snprintf(entry, sizeof entry, ".entry %s(", name);
  *function = strstr(image, entry);
  return module == &image && *function ? 0 : 500;
}

int cuLaunchKernel(const char *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **parameters, void **extra) {
  if (crashed) return 700;
  if (gx * gy * gz == 0 || bx * by * bz == 0 || bx > 1024 || shared || stream || extra) return 1;
  if (strncmp(function, ".entry bad(", 11) == 0) crashed = 1;
  if (strncmp(function, ".entry sweep(", 13) == 0)
    return *(uint64_t *)parameters[0] && *(uint64_t *)parameters[1] && *(uint64_t *)parameters[2] ? 0 : 1;
  if (strncmp(function, ".entry spin(", 12) == 0) return *(uint64_t *)parameters[0] ? 0 : 1;
  return 0;
}

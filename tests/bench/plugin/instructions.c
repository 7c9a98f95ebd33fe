/*
 * A TCG plugin for QEMU that counts a guest's instructions. Each line that the guest writes to its first serial
 * port goes into a file, behind the number of instructions that all its processors had executed when the line
 * ended: "COUNT LINE". The count is taken where the guest executes the OUT of the line's last byte, so that
 * nothing of the host's scheduling is between the two.
 *
 * Argument: log=PATH.
 *
 * Debian does not package qemu-plugin.h, so what is used of it is declared here, as QEMU documents it
 * ("QEMU TCG Plugins", API version 3, which QEMU 9.1 brought).
 */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* --- qemu-plugin.h ------------------------------------------------------------------------------------ */

typedef uint64_t qemu_plugin_id_t;

typedef struct qemu_info_t {
    const char *target_name;
    struct {
        int min;
        int cur;
    } version;
    bool system_emulation;
    struct {
        int smp_vcpus;
        int max_vcpus;
    } system;
} qemu_info_t;

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
struct qemu_plugin_register;

typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} qemu_plugin_u64;

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64, QEMU_PLUGIN_INLINE_STORE_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_CB_R_REGS, QEMU_PLUGIN_CB_RW_REGS };

typedef struct {
    struct qemu_plugin_register *handle;
    const char *name;
    const char *feature;
} qemu_plugin_reg_descriptor;

/* of GLib, which QEMU is linked with: garray.h and gbytearray.h */
typedef struct {
    char *data;
    unsigned int len;
} GArray;
typedef struct {
    uint8_t *data;
    unsigned int len;
} GByteArray;
GByteArray *g_byte_array_new(void);
GByteArray *g_byte_array_set_size(GByteArray *array, unsigned int length);
char *g_array_free(GArray *array, int free_segment);

typedef void (*qemu_plugin_vcpu_simple_cb_t)(qemu_plugin_id_t id, unsigned int vcpu);
typedef void (*qemu_plugin_vcpu_tb_trans_cb_t)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*qemu_plugin_vcpu_udata_cb_t)(unsigned int vcpu, void *data);

void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_simple_cb_t callback);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_tb_trans_cb_t callback);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *data, size_t length);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *tb, enum qemu_plugin_op op,
                                                       qemu_plugin_u64 entry, uint64_t value);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, qemu_plugin_vcpu_udata_cb_t callback,
                                            enum qemu_plugin_cb_flags flags, void *data);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
uint64_t qemu_plugin_u64_sum(qemu_plugin_u64 entry);
GArray *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(struct qemu_plugin_register *handle, GByteArray *buffer);

EXPORT int qemu_plugin_version = 3;

/* --- the plugin --------------------------------------------------------------------------------------- */

enum {
    SERIAL_PORT = 0x3f8, /* of the first 16550, where a PC has it */
    OUT_DX_AL = 0xee,
    LINE_LIMIT = 4096,
    VCPUS = 64,
};

static qemu_plugin_u64 executed;
static FILE *out;
static struct qemu_plugin_register *rax[VCPUS], *rdx[VCPUS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char line[LINE_LIMIT];
static size_t length;

static uint64_t read_register(struct qemu_plugin_register *handle)
{
    static _Thread_local GByteArray *buffer;
    uint64_t value = 0;

    if (!buffer)
        buffer = g_byte_array_new();
    g_byte_array_set_size(buffer, 0);
    if (handle && qemu_plugin_read_register(handle, buffer) > 0)
        memcpy(&value, buffer->data, buffer->len < sizeof value ? buffer->len : sizeof value);
    return value;
}

/* The handles of both registers: they are a processor's own. */
static void vcpu_starts(qemu_plugin_id_t id, unsigned int vcpu)
{
    GArray *registers = qemu_plugin_get_registers();
    const qemu_plugin_reg_descriptor *all = (const void *)registers->data;

    (void)id;
    for (unsigned int index = 0; vcpu < VCPUS && index < registers->len; index++) {
        if (!strcmp(all[index].name, "rax"))
            rax[vcpu] = all[index].handle;
        if (!strcmp(all[index].name, "rdx"))
            rdx[vcpu] = all[index].handle;
    }
    g_array_free(registers, 1);
}

/* Before an OUT DX, AL. */
static void byte_goes_out(unsigned int vcpu, void *data)
{
    (void)data;
    if (vcpu >= VCPUS || (read_register(rdx[vcpu]) & 0xffff) != SERIAL_PORT)
        return;
    char byte = (char)read_register(rax[vcpu]);
    pthread_mutex_lock(&lock);
    if (byte == '\n' || length == LINE_LIMIT) {
        fprintf(out, "%llu %.*s\n", (unsigned long long)qemu_plugin_u64_sum(executed), (int)length, line);
        fflush(out);
        length = 0;
    }
    if (byte != '\n' && byte != '\r' && byte)
        line[length++] = byte;
    pthread_mutex_unlock(&lock);
}

static void block_is_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t count = qemu_plugin_tb_n_insns(tb);

    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64, executed, count);
    for (size_t index = 0; index < count; index++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, index);
        uint8_t code[2];
        size_t size = qemu_plugin_insn_data(insn, code, sizeof code);

        if (size == 1 && code[0] == OUT_DX_AL)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, byte_goes_out, QEMU_PLUGIN_CB_R_REGS, NULL);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    if (!info->system_emulation || strcmp(info->target_name, "x86_64") || argc != 1 ||
        strncmp(argv[0], "log=", 4)) {
        fprintf(stderr, "instructions: takes log=PATH, and a machine of x86-64\n");
        return 1;
    }
    out = fopen(argv[0] + 4, "w");
    if (!out) {
        perror(argv[0] + 4);
        return 1;
    }
    executed.score = qemu_plugin_scoreboard_new(sizeof(uint64_t));
    executed.offset = 0;
    qemu_plugin_register_vcpu_init_cb(id, vcpu_starts);
    qemu_plugin_register_vcpu_tb_trans_cb(id, block_is_translated);
    return 0;
}

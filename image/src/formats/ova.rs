//! OVA: a virtual machine of VMware or VirtualBox in one tar archive, its description first (DMTF DSP0243, "Open
//! Virtualization Format Specification", 2.1, section 5.3).

/// What the machine is called where it is imported.
const NAME: &str = "K3s-DaaS node";

/// The description of a machine with this disk: two processors, 4 GiB, UEFI, a paravirtual SCSI controller and a
/// network card. `capacity` and `size` are the disk's and the file's length in bytes.
#[must_use]
pub(super) fn description(disk: &str, capacity: u64, size: u64, version: &str) -> String {
    let item = |fields: &[(&str, &str)]| {
        let mut text = String::from("      <Item>\n");
        for (name, value) in fields {
            text.push_str(&format!("        <rasd:{name}>{value}</rasd:{name}>\n"));
        }
        text.push_str("      </Item>\n");
        text
    };
    // ResourceType: CIM_ResourceAllocationSettingData; the fields of an item stand in alphabetical order
    let items = [
        item(&[
            ("AllocationUnits", "hertz * 10^6"),
            ("ElementName", "2 processors"),
            ("InstanceID", "1"),
            ("ResourceType", "3"),
            ("VirtualQuantity", "2"),
        ]),
        item(&[
            ("AllocationUnits", "byte * 2^20"),
            ("ElementName", "4096 MiB of memory"),
            ("InstanceID", "2"),
            ("ResourceType", "4"),
            ("VirtualQuantity", "4096"),
        ]),
        item(&[
            ("Address", "0"),
            ("ElementName", "SCSI controller"),
            ("InstanceID", "3"),
            ("ResourceSubType", "VirtualSCSI"),
            ("ResourceType", "6"),
        ]),
        item(&[
            ("AddressOnParent", "0"),
            ("ElementName", "disk"),
            ("HostResource", "ovf:/disk/disk1"),
            ("InstanceID", "4"),
            ("Parent", "3"),
            ("ResourceType", "17"),
        ]),
        item(&[
            ("AutomaticAllocation", "true"),
            ("Connection", "network"),
            ("ElementName", "network card"),
            ("InstanceID", "5"),
            ("ResourceSubType", "VmxNet3"),
            ("ResourceType", "10"),
        ]),
    ]
    .concat();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
         xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\" \
         xmlns:rasd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData\" \
         xmlns:vssd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData\" \
         xmlns:vmw=\"http://www.vmware.com/schema/ovf\">\n\
         \x20 <References>\n    <File ovf:href=\"{disk}\" ovf:id=\"file1\" ovf:size=\"{size}\"/>\n  </References>\n\
         \x20 <DiskSection>\n    <Info>Disks</Info>\n\
         \x20   <Disk ovf:capacity=\"{capacity}\" ovf:capacityAllocationUnits=\"byte\" ovf:diskId=\"disk1\" \
         ovf:fileRef=\"file1\" \
         ovf:format=\"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized\"/>\n  </DiskSection>\n\
         \x20 <NetworkSection>\n    <Info>Networks</Info>\n    <Network ovf:name=\"network\">\n\
         \x20     <Description>A network with DHCP or router advertisements</Description>\n    </Network>\n\
         \x20 </NetworkSection>\n\
         \x20 <VirtualSystem ovf:id=\"k3s-daas\">\n    <Info>A worker of a K3s cluster</Info>\n    <Name>{NAME}</Name>\n\
         \x20   <OperatingSystemSection ovf:id=\"101\">\n      <Info>Linux, 64 bit</Info>\n\
         \x20     <Description>K3s-DaaS {version}</Description>\n    </OperatingSystemSection>\n\
         \x20   <VirtualHardwareSection>\n      <Info>Hardware</Info>\n      <System>\n\
         \x20       <vssd:ElementName>Hardware</vssd:ElementName>\n        <vssd:InstanceID>0</vssd:InstanceID>\n\
         \x20       <vssd:VirtualSystemIdentifier>{NAME}</vssd:VirtualSystemIdentifier>\n\
         \x20       <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>\n      </System>\n{items}\
         \x20     <vmw:Config ovf:required=\"false\" vmw:key=\"firmware\" vmw:value=\"efi\"/>\n\
         \x20   </VirtualHardwareSection>\n  </VirtualSystem>\n</Envelope>\n"
    )
}

/// The list of digests that stands behind the description: of each file, its name and its SHA-256.
#[must_use]
pub(super) fn manifest(members: &[(&str, String)]) -> String {
    members
        .iter()
        .map(|(name, sha256)| format!("SHA256({name})= {sha256}\n"))
        .collect()
}

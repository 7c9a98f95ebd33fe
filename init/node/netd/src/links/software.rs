//! Links that the configuration has netd make: tags (IEEE 802.1Q) and bonds.

use node_settings::{BondConfig, BondMode, VlanConfig};
use rtnetlink::packet_route::link::{BondLacpRate, BondMode as KernelMode, BondXmitHashPolicy};
use rtnetlink::{LinkBond, LinkUnspec, LinkVlan};

use super::{Kind, Link, LinkError, Links, failed};

/// How often a bond looks at its links' carriers, in milliseconds (Documentation/networking/bonding.rst, `miimon`).
const MONITOR: u32 = 100;

/// A bond's links that are parts of it, and those that are still to be.
pub(crate) fn missing_parts<'a>(bond: &BondConfig, links: &'a [Link]) -> Vec<&'a Link> {
    let parts = links
        .iter()
        .filter(|link| link.kind != Kind::Vlan && link.controller.is_none());
    parts
        .filter(|link| link.name != bond.name && bond.links.iter().any(|wanted| link.is(wanted)))
        .collect()
}

impl Links {
    /// Makes the link of a tag, where it is not there yet and what carries it is. True when it was made.
    pub(crate) async fn make_vlan(
        &self,
        vlan: &VlanConfig,
        links: &[Link],
    ) -> Result<bool, LinkError> {
        if links.iter().any(|link| link.name == vlan.name) {
            return Ok(false);
        }
        let Some(carrier) = links.iter().find(|link| link.is(&vlan.link)) else {
            return Ok(false);
        };
        self.set_up(carrier.index).await?;
        let message = LinkVlan::new(&vlan.name, carrier.index, vlan.id)
            .up()
            .build();
        let request = self.handle.link().add(message).execute();
        request.await.map_err(failed("making a VLAN's link"))?;
        Ok(true)
    }

    /// Removes a bond without parts that was there before this program began: the kernel's module makes one by itself,
    /// which works in another way.
    pub(crate) async fn remove_idle_bond(
        &self,
        bond: &BondConfig,
        links: &[Link],
    ) -> Result<bool, LinkError> {
        let own = links
            .iter()
            .find(|link| link.name == bond.name && link.kind == Kind::Bond);
        let Some(own) = own else {
            return Ok(false);
        };
        if links.iter().any(|link| link.controller == Some(own.index)) {
            return Ok(false);
        }
        let request = self.handle.link().del(own.index).execute();
        request.await.map_err(failed("removing an idle bond"))?;
        Ok(true)
    }

    /// Makes a bond where it is not there yet, and puts those of its links into it that are there. True when anything
    /// was done.
    pub(crate) async fn make_bond(
        &self,
        bond: &BondConfig,
        links: &[Link],
    ) -> Result<bool, LinkError> {
        let Some(own) = links.iter().find(|link| link.name == bond.name) else {
            let builder = LinkBond::new(&bond.name).miimon(MONITOR);
            let builder = match bond.mode {
                BondMode::Lacp => builder
                    .mode(KernelMode::Ieee8023Ad)
                    .ad_lacp_rate(BondLacpRate::Fast)
                    .xmit_hash_policy(BondXmitHashPolicy::Layer34),
                BondMode::ActiveBackup => builder.mode(KernelMode::ActiveBackup),
            };
            let request = self.handle.link().add(builder.up().build()).execute();
            request.await.map_err(failed("making a bond"))?;
            return Ok(true);
        };
        let parts = missing_parts(bond, links);
        for part in &parts {
            // a link is down while it becomes a part of another
            let message = LinkUnspec::new_with_index(part.index).down().build();
            let request = self.handle.link().set(message).execute();
            request.await.map_err(failed("taking a bond's link down"))?;
            let message = LinkUnspec::new_with_index(part.index)
                .controller(own.index)
                .build();
            let request = self.handle.link().set(message).execute();
            request
                .await
                .map_err(failed("putting a link into a bond"))?;
            self.set_up(part.index).await?;
        }
        Ok(!parts.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_bond_are_those_that_are_named_and_free() {
        let link = |index, name: &str, controller| Link {
            index,
            name: name.to_owned(),
            address: [2, 0, 0, 0, 0, 7],
            running: true,
            carrier_changes: 1,
            mtu: 1500,
            kind: if name == "bond0" {
                Kind::Bond
            } else {
                Kind::Hardware
            },
            controller,
        };
        let bond = BondConfig {
            name: "bond0".to_owned(),
            links: vec![
                "eth0".parse().unwrap(),
                "eth1".parse().unwrap(),
                "eth9".parse().unwrap(),
            ],
            mode: BondMode::Lacp,
        };
        let links = [
            link(2, "eth0", Some(5)),
            link(3, "eth1", None),
            link(4, "eth2", None),
            link(5, "bond0", None),
        ];
        let names: Vec<&str> = missing_parts(&bond, &links)
            .iter()
            .map(|link| link.name.as_str())
            .collect();
        assert_eq!(names, ["eth1"]);
    }
}

//! The server in its loopback form, which needs no rights.

use klonwerk::dhcp_server::{Attachment, DhcpConfig, DhcpServer};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;

/// Patience for what must happen.
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_loopback_form_answers_to_where_the_request_came_from() {
    let config = DhcpConfig { address: Ipv4Addr::LOCALHOST, boot_port: 8080, attachment: Attachment::Loopback };
    let server = DhcpServer::bind(config).unwrap();
    let ports = server.ports();
    assert!(ports.dhcp.port() != 0 && ports.proxy.port() != 0 && ports.dhcp != ports.proxy);
    let school = Arc::new(School::of(known(Idle::Silent, Some(17))));
    let cancel = CancellationToken::new();
    let running = tokio::spawn(server.run(school.clone(), cancel.clone()));

    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut bytes = [0; 2048];
    let messages = captures::client_messages("proxydhcp-uefi-ovmf2025-pxe.pcap");
    for (message, port, file) in [(&messages[0], ports.dhcp, None), (&messages[2], ports.proxy, Some("snponly.efi"))] {
        // What is no DHCP must not be in the way.
        client.send_to(b"noise", port).await.unwrap();
        client.send_to(&message.bytes, port).await.unwrap();
        let (len, source) = timeout(DEADLINE, client.recv_from(&mut bytes)).await.unwrap().unwrap();
        assert_eq!(source, port.into(), "a reply leaves from the port that was asked");
        let given = options(&bytes[..len]);
        assert_eq!(given.get(&67).map(|file| text_of(file)).as_deref(), file);
    }
    assert_eq!(school.answered.lock().unwrap().len(), 2);
    cancel.cancel();
    timeout(DEADLINE, running).await.unwrap().unwrap().unwrap();
}

use proptest::prelude::*;

use super::*;

const IID: &str = "000000000000000000000000000000000000000000000000000000000000000";
const CID: &str = "000000000000000000000000000000000000000000000000";
const GUID: &str = "2de67392-b7a7-462a-b1ca-108dd189f588";

/// The rows in a short form: machine, product, key, first digit of IID and of CID.
fn read(text: &str) -> Result<Vec<String>, RowFault> {
    let first = |row: &Candidate, column| row.text(column).get(..1).unwrap_or("-").to_owned();
    let short = |row: &Candidate| {
        let [machine, product, key] = [Column::Machine, Column::ActivationId, Column::PartialKey].map(|c| row.text(c));
        let product = product.get(..4).unwrap_or_default();
        format!(
            "{machine}/{product}/{key}/{}{}",
            first(row, Column::InstallationId),
            first(row, Column::ConfirmationId)
        )
    };
    candidates(text).map(|rows| rows.iter().map(short).collect())
}

fn iid(digit: char) -> String {
    IID.replace('0', &digit.to_string())
}

fn cid(digit: char) -> String {
    CID.replace('0', &digit.to_string())
}

#[test]
fn the_documented_elements_of_version_2() {
    let (one, two, cid) = (iid('1'), iid('2'), cid('3'));
    let text = format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<SoftwareLicensingData Version="2.0" xmlns="urn:x">
  <Computers>
    <Computer Name="pc-1.school.example" OSVersion="6.1" NetworkName="SCHOOL" Id="11111111-1111-1111-1111-111111111111">
      <MacAddresses><MacAddress>00:15:5D:00:00:01</MacAddress></MacAddresses>
      <Products>
        <Product>
          <Sku Id="{{{GUID}}}" Name="Windows 7" ApplicationId="55c92734-d682-4d71-983e-d6ec3f16059f"/>
          <PartialProductKey>3V66T</PartialProductKey>
          <InstallationId>{one}</InstallationId>
          <ConfirmationId>{cid}</ConfirmationId>
        </Product>
        <Product>
          <Sku Id="f520e45e-7413-4a34-a497-d2765967d094" InstallationId="{two}" ConfirmationId=""/>
        </Product>
      </Products>
    </Computer>
    <Computer Name="pc-2"><Products/></Computer>
  </Computers>
</SoftwareLicensingData>"#
    );
    assert_eq!(
        read(&text),
        Ok(vec!["pc-1.school.example/{2de/3V66T/13".into(), "pc-1.school.example/f520//2-".into()])
    );
}

#[test]
fn names_that_nobody_documented() {
    let (one, two, cid1, cid2) = (iid('1'), iid('2'), cid('3'), cid('4'));
    let flat = format!("<a><b FullyQualifiedDomainName='pc-1' Sku='{GUID}' Proxy='{one}' Answer='{cid1}'/></a>");
    assert_eq!(read(&flat), Ok(vec!["pc-1/2de6//13".into()]));
    let list = format!(
        "<ns:l><ns:i Iid='{one}' Cid='{cid1}' ComputerName='a'/><ns:i Iid='{two}' Cid='{cid2}' ComputerName='b'/></ns:l>"
    );
    assert_eq!(read(&list), Ok(vec!["a///13".into(), "b///24".into()]));
    let deep = format!("<x><Computer><Name>pc-1</Name><P><Q><R>{one}</R></Q><Sku>{GUID}</Sku></P></Computer></x>");
    assert_eq!(read(&deep), Ok(vec!["pc-1/2de6//1-".into()]));
    assert_eq!(read(&format!("<iid>{one}</iid>")), Ok(vec!["///1-".into()]));
}

#[test]
fn what_stands_apart_is_not_brought_together() {
    let (one, two, cid) = (iid('1'), iid('2'), cid('3'));
    let list = format!("<l><i Iid='{one}'/><i Cid='{cid}'/></l>");
    assert_eq!(read(&list), Ok(vec!["///1-".into()]), "the second of a list is another row");
    let two_of_them = format!("<p><Iid>{one}</Iid><Iid2>{two}</Iid2><Cid>{cid}</Cid></p>");
    assert_eq!(read(&two_of_them), Ok(vec!["///1-".into(), "///2-".into()]), "nobody can say whose it is");
    let other = format!("<l><Computer Name='a'><x/></Computer><Computer><y Iid='{one}'/></Computer></l>");
    assert_eq!(read(&other), Ok(vec!["///1-".into()]), "another computer's name does not count");
}

#[test]
fn documents_without_an_installation_id_say_so() {
    let fault = read("<html><body>x</body></html>").err().map(|fault| fault.why);
    assert_eq!(fault, Some(Why::NoInstallation));
    let many = format!("<l>{}</l>", "<i Cid='1'/>".repeat(MOST_ROWS + 1));
    assert_eq!(read(&many).err().map(|fault| fault.why), Some(Why::TooManyRows));
}

proptest! {
    #[test]
    fn no_document_panics(text in "(<a>|</a>|<b Iid='[0-9]{0,3}'/>|<Sku Id='x'>|</Sku>|<iid>|</iid>|[0-9]{60,64}|<cid/>){0,20}") {
        let _ = candidates(&text);
    }
}
